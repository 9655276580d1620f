import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Redis } from 'ioredis';

const MASTERS = 3;
const SLOTS = 16_384;

/** A native server; without one there is no cluster. */
export function clusterServer(): string | undefined {
  for (const name of ['redis-server', 'valkey-server']) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not here.
      }
    }
  }
  return undefined;
}

/** Three masters and a replica of the first, on free ports of 127.0.0.1. */
export class RedisCluster implements AsyncDisposable {
  readonly ports: readonly number[];
  readonly #folder: string;
  readonly #servers: ChildProcess[] = [];

  private constructor(folder: string, ports: readonly number[]) {
    this.#folder = folder;
    this.ports = ports;
  }

  static async start(server: string): Promise<RedisCluster> {
    const ports = await freePorts(2 * (MASTERS + 1));
    const cluster = new RedisCluster(await mkdtemp(join(tmpdir(), 'x-cluster-')), ports.slice(0, MASTERS + 1));
    try {
      for (const [index, port] of cluster.ports.entries()) {
        cluster.#spawn(server, port, ports[MASTERS + 1 + index] as number);
      }
      await cluster.#form(ports.slice(MASTERS + 1));
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The replica takes the first master's place. */
  async failOver(): Promise<void> {
    await this.#on(MASTERS, async (replica) => {
      await replica.call('CLUSTER', 'FAILOVER', 'TAKEOVER');
      await until(async () => String(await replica.call('ROLE')).startsWith('master'));
    });
    await this.#agreed();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.kill('SIGKILL');
    await rm(this.#folder, { recursive: true, force: true });
  }

  #spawn(server: string, port: number, busPort: number): void {
    const options = {
      port,
      'cluster-port': busPort,
      bind: '127.0.0.1',
      dir: this.#folder,
      'cluster-enabled': 'yes',
      'cluster-config-file': `nodes-${port}.conf`,
      'cluster-node-timeout': 2_000,
      save: '',
      appendonly: 'no',
      loglevel: 'warning',
      'repl-diskless-sync-delay': 0,
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#servers.push(spawn(server, args, { stdio: 'ignore' }));
  }

  async #form(busPorts: readonly number[]): Promise<void> {
    for (let node = 0; node < MASTERS; node++) {
      await this.#on(node, async (redis) => {
        const [from, to] = [Math.ceil((SLOTS * node) / MASTERS), Math.ceil((SLOTS * (node + 1)) / MASTERS) - 1];
        await redis.call('CLUSTER', 'ADDSLOTS', ...Array.from({ length: to - from + 1 }, (_, n) => from + n));
        await redis.call('CLUSTER', 'SET-CONFIG-EPOCH', node + 1);
      });
    }
    for (let node = 1; node <= MASTERS; node++) {
      await this.#on(node, (redis) =>
        redis.call('CLUSTER', 'MEET', '127.0.0.1', this.ports[0] as number, busPorts[0] as number),
      );
    }
    const first = String(await this.#on(0, (redis) => redis.call('CLUSTER', 'MYID')));
    await this.#on(MASTERS, async (replica) => {
      await until(async () => String(await replica.call('CLUSTER', 'NODES')).includes(first));
      await replica.call('CLUSTER', 'REPLICATE', first);
      await until(async () => String(await replica.call('ROLE')).includes('connected'));
    });
    await this.#agreed();
  }

  /** Waits until all nodes see the same cluster, and all of it. */
  async #agreed(): Promise<void> {
    await until(async () => {
      const views = await Promise.all(
        this.ports.map((_, node) =>
          this.#on(node, async (redis) => ({
            ok: String(await redis.call('CLUSTER', 'INFO')).includes('cluster_state:ok'),
            slots: JSON.stringify(await redis.call('CLUSTER', 'SLOTS')),
          })),
        ),
      );
      const owners = views.map(({ slots }) =>
        JSON.stringify(
          (JSON.parse(slots) as [number, number, [string, number]][]).map(([from, , [, port]]) => [from, port]).sort(),
        ),
      );
      return views.every(({ ok }) => ok) && new Set(owners).size === 1;
    });
  }

  async #on<T>(node: number, run: (redis: Redis) => Promise<T>): Promise<T> {
    const redis = new Redis({ host: '127.0.0.1', port: this.ports[node] as number, retryStrategy: () => 50 });
    redis.on('error', () => {});
    try {
      return await run(redis);
    } finally {
      redis.disconnect();
    }
  }
}

async function until(true_: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await true_())) {
    if (performance.now() > deadline) throw new Error('the cluster did not come about in 30 s');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** All at once, so that no port is given twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
