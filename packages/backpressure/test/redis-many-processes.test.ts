import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { Cluster, Redis } from 'ioredis';
import { expect, test, vi } from 'vitest';

interface Report {
  allowed: number;
  decidedBy: Record<string, number>;
  done?: boolean;
}

/** Processes that share a rate and ask for one key as fast as they can. They run what is built, as a user's processes do. */
class Processes implements Disposable {
  readonly #children: ChildProcess[];
  readonly #reports: Report[] = [];

  constructor(count: number, message: object) {
    this.#children = Array.from({ length: count }, () =>
      fork(join(import.meta.dirname, 'fixtures/rate-limited-process.mjs'), { execArgv: [] }),
    );
    for (const [at, child] of this.#children.entries()) {
      child.on('message', (report) => {
        this.#reports[at] = report as Report;
      });
      child.send(message);
    }
  }

  get allowed(): number {
    return this.#reports.reduce((sum, { allowed }) => sum + allowed, 0);
  }

  decidedBy(who: string): number[] {
    return this.#children.map((_, at) => this.#reports[at]?.decidedBy[who] ?? 0);
  }

  async more(): Promise<void> {
    const before = this.allowed;
    await vi.waitFor(() => expect(this.allowed).toBeGreaterThan(before), { timeout: 15_000, interval: 10 });
  }

  async stop(): Promise<void> {
    const done = this.#children.map((child) => once(child, 'exit'));
    for (const child of this.#children) child.send('stop');
    await Promise.all(done);
    expect(this.#reports.map((report) => report.done)).toEqual(this.#children.map(() => true));
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }
}

/** Long enough that a part of the rate has come back, whatever the machine is busy with. */
function earn(calls: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, (calls * rate.intervalMs) / rate.limit));
}

const rate = { limit: 100, intervalMs: 1_000, burst: 50 };

test('two limiters in each of many processes admit no more than the shared rate, and no less', async () => {
  await using service = await startRedis();
  const client = new Redis(service.url);
  const shared = { ...rate, url: service.url, prefix: `processes-${process.pid}:`, commandTimeoutMs: 60_000 };
  const began = await serverMs(client);
  using processes = new Processes(4, shared);
  await processes.more();
  await earn(100);
  await processes.stop();
  const elapsedMs = (await serverMs(client)) - began;
  client.disconnect();
  expect(processes.allowed).toBeLessThanOrEqual(rate.burst + (elapsedMs * rate.limit) / rate.intervalMs + 1);
  expect(processes.allowed).toBeGreaterThanOrEqual(rate.burst + 50);
  expect(processes.decidedBy('local')).toEqual([0, 0, 0, 0]);
  expect(Math.min(...processes.decidedBy('redis'))).toBeGreaterThan(0);
}, 60_000);

test('nor do they while Redis is flushed, paused, killed and started again: a burst, and the rate', async () => {
  await using service = await startRedis({ external: false });
  const client = new Redis(service.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  client.on('error', () => {});
  const shared = { ...rate, url: service.url, prefix: 'chaos:', localShare: 1 / 8, retryAfterMs: 100 };
  const began = performance.now();
  using processes = new Processes(4, shared);
  const within = (): void => {
    const elapsedMs = performance.now() - began;
    expect(processes.allowed).toBeLessThanOrEqual(rate.burst + (elapsedMs * rate.limit) / rate.intervalMs + 1);
  };
  const asksRedis = async (): Promise<void> => {
    const before = processes.decidedBy('redis');
    await vi.waitFor(
      () => {
        for (const [at, count] of processes.decidedBy('redis').entries())
          expect(count).toBeGreaterThan(before[at] ?? 0);
      },
      { timeout: 15_000, interval: 10 },
    );
  };
  await asksRedis();
  await earn(50);
  within();

  for (let flush = 0; flush < 3; flush++) {
    await client.flushall();
    await earn(20);
    within();
  }

  await service.pause();
  await earn(100);
  within();
  expect(Math.min(...processes.decidedBy('local'))).toBeGreaterThan(0);
  await service.resume();
  await asksRedis();
  await earn(50);
  within();

  await service.kill();
  await earn(100);
  within();
  await service.restart();
  await asksRedis();
  await earn(50);
  within();
  await processes.stop();
  within();
  client.disconnect();
  // Nor much less: the rate is of use all the time.
  const elapsedMs = performance.now() - began;
  expect(processes.allowed).toBeGreaterThan((0.5 * (elapsedMs * rate.limit)) / rate.intervalMs);
}, 60_000);

test.skipIf(!hasRedisServer())('a cluster takes it, whatever braces callers put into their keys', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'x-cluster-'));
  const [port, busPort] = await freePorts();
  const server = spawn(
    'redis-server',
    [
      '--port',
      `${port}`,
      '--cluster-port',
      `${busPort}`,
      '--cluster-enabled',
      'yes',
      '--cluster-announce-ip',
      '127.0.0.1',
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--dir',
      folder,
    ],
    { stdio: 'ignore' },
  );
  const node = new Redis({ port: port as number, host: '127.0.0.1', retryStrategy: () => 50 });
  node.on('error', () => {});
  const cluster = new Cluster([{ port: port as number, host: '127.0.0.1' }], { lazyConnect: true });
  try {
    await vi.waitFor(() => node.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383), { timeout: 15_000, interval: 100 });
    await vi.waitFor(async () => expect(await node.cluster('INFO')).toContain('cluster_state:ok'), { timeout: 15_000 });
    await cluster.connect();
    const rate = new RedisRateLimiter({
      client: cluster,
      limit: 1,
      intervalMs: 1e9,
      commandTimeoutMs: 60_000,
      onUnavailable: 'deny',
    });
    for (const key of ['a', 'b', '{a}b', '}{', 'x'.repeat(999)]) {
      expect(await rate.consume(key)).toMatchObject({ allowed: true });
      expect(await rate.consume(key)).toMatchObject({ allowed: false });
    }
    expect(rate.stats().decidedAlone).toBe(0);
    await rate.close();
  } finally {
    cluster.disconnect();
    node.disconnect();
    await end(server);
    rmSync(folder, { recursive: true, force: true });
  }
});

function hasRedisServer(): boolean {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function freePorts(): Promise<number[]> {
  const servers = [createServer(), createServer()];
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return ports;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exited = once(child, 'exit');
  child.kill();
  await exited;
}

async function serverMs(client: Redis): Promise<number> {
  const [seconds, microseconds] = await client.time();
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
}
