import { randomUUID } from 'node:crypto';
import { Socket } from 'node:net';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import pg from 'pg';
import { expect } from 'vitest';

/** A pool whose sockets (those of cancel requests too) and backends can be counted beside its own books. */
export class AuditedPool implements AsyncDisposable {
  readonly pool: PostgresPool;
  readonly #sockets = new Set<Socket>();
  readonly #serverUrl: string;
  readonly #name = randomUUID();

  /** `serverUrl`: where the server can be asked, if not where the pool connects to. */
  constructor(options: PostgresPoolOptions, serverUrl: string = options.connectionString ?? '') {
    this.#serverUrl = serverUrl;
    const stream = (): Socket => {
      const socket = new Socket();
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      return socket;
    };
    this.pool = new PostgresPool({
      ...options,
      connection: { application_name: this.#name, stream, ...options.connection },
    });
  }

  /** Those that are open now. */
  openSockets(): Socket[] {
    return [...this.#sockets];
  }

  get sockets(): number {
    return this.#sockets.size;
  }

  /** The backends of this pool, as the server sees them. */
  async backends(): Promise<{ pid: number; state: string; query: string }[]> {
    const client = new pg.Client(this.#serverUrl);
    client.on('error', () => {});
    try {
      await client.connect();
      const text = 'select pid, state, query from pg_stat_activity where application_name = $1';
      return (await client.query(text, [this.#name])).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  async terminateAll(condition = 'true'): Promise<void> {
    const client = new pg.Client(this.#serverUrl);
    client.on('error', () => {});
    try {
      await client.connect();
      const text = `select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and ${condition}`;
      await client.query(text, [this.#name]);
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** Waits until nothing is under way, and the pool, this process and the server agree on how many connections there are. */
  async expectInOrder(): Promise<void> {
    const books = async () => {
      const { size, inUse, waiting, created, destroyed } = this.pool.stats();
      const gone = Object.values(destroyed).reduce((sum, n) => sum + n, 0);
      const backends = await this.backends().catch((error: unknown) => error);
      return {
        inUse,
        waiting,
        created: created - gone - size,
        sockets: this.#sockets.size - size,
        backends: Array.isArray(backends) ? backends.length - size : backends,
      };
    };
    await expect
      .poll(books, { timeout: 10_000 })
      .toEqual({ inUse: 0, waiting: 0, created: 0, sockets: 0, backends: 0 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close({ timeoutMs: 0 });
    await expect.poll(() => this.sockets).toBe(0);
  }
}
