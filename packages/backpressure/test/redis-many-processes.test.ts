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

test('two limiters in each of many processes admit no more than the shared rate', async () => {
  await using service = await startRedis();
  const client = new Redis(service.url);
  const prefix = `processes-${process.pid}:`;
  const rate = { limit: 100, intervalMs: 1_000, burst: 50 };
  // They run what is built, as a user's processes do.
  const children = Array.from({ length: 4 }, () =>
    fork(join(import.meta.dirname, 'rate-limited-process.mjs'), { execArgv: [] }),
  );
  try {
    const began = await serverMs(client);
    const answers = children.map(async (child) => {
      child.send({ url: service.url, prefix, calls: 1_000, ...rate });
      const [answer] = await once(child, 'message');
      return answer as { allowed: number; alone: number };
    });
    const results = await Promise.all(answers);
    const elapsedMs = (await serverMs(client)) - began;
    const allowed = results.reduce((sum, { allowed }) => sum + allowed, 0);
    expect(results.map(({ alone }) => alone)).toEqual([0, 0, 0, 0]);
    expect(allowed).toBeLessThanOrEqual(rate.burst + (elapsedMs * rate.limit) / rate.intervalMs + 1);
    expect(allowed).toBeGreaterThanOrEqual(rate.burst);
    expect(results.reduce((sum, { allowed }) => sum + Math.sign(allowed), 0)).toBeGreaterThan(1);
  } finally {
    for (const child of children) child.kill();
    client.disconnect();
  }
});

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
