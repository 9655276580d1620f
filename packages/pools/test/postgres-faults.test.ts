import { type AddressInfo, createServer, type Server } from 'node:net';
import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import { TcpProxy } from '@x/testkit';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

let server: PostgresService;
const pools: PostgresPool[] = [];

beforeAll(async () => {
  server = await startPostgres({ external: false, settings: { max_connections: '20' } });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(options: PostgresPoolOptions = {}): PostgresPool {
  const pool = new PostgresPool({ connectionString: server.url, minSize: 2, maxSize: 4, ...options });
  pools.push(pool);
  return pool;
}

async function ask<T>(question: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(server.url);
  client.on('error', () => {});
  await client.connect();
  try {
    return await question(client);
  } finally {
    await client.end();
  }
}
const backends = (): Promise<{ pid: number; query: string; state: string }[]> =>
  ask(async (client) => {
    const { rows } = await client.query(
      `select pid, query, state from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`,
    );
    return rows;
  });
const running = async () => (await backends()).filter(({ state }) => state === 'active');
const works = (pool: PostgresPool) => async () => (await pool.fetchOne('select 1 as one').catch((error) => error))?.one;
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a network that fails', () => {
  it('silently in mid query costs the caller its time and no more, and the connection is dropped', async () => {
    await using proxy = await TcpProxy.start(server.url);
    const pool = open({
      connectionString: proxy.through(server.url),
      cancelTimeoutMs: 200,
      connectTimeoutMs: 300,
      commandTimeoutMs: 200,
    });
    await pool.start();
    proxy.faults.blackHole = true;
    const started = performance.now();
    await expect(pool.query('select 1')).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(performance.now() - started).toBeLessThan(2_000);
    await expect.poll(() => pool.stats().destroyed.broken).toBeGreaterThan(0);
    proxy.faults.blackHole = false;
    proxy.resetAll();
    await expect.poll(works(pool), { timeout: 5_000 }).toBe(1);
  });

  it('by a reset gives each caller one error and is forgotten', async () => {
    await using proxy = await TcpProxy.start(server.url);
    const pool = open({ connectionString: proxy.through(server.url) });
    await pool.start();
    const queries = [1, 2, 3].map(() => pool.query('select pg_sleep(30)').catch((error: unknown) => error));
    await expect.poll(running).toHaveLength(3);
    proxy.resetAll();
    for (const error of await Promise.all(queries)) {
      expect(error).toMatchObject({ code: 'ERR_CONNECTION_LOST', sqlState: '08006' });
    }
    await expect.poll(works(pool)).toBe(1);
    await expect.poll(() => pool.stats()).toMatchObject({ inUse: 0, waiting: 0 });
    // The server notices that nobody listens only when it has something to say: end its sleepers for the next test.
    await ask((client) =>
      client.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where query like '%sleep(30)%' and pid <> pg_backend_pid()`,
      ),
    );
  });

  it('while idle connections are tried before they are lent finds them out', async () => {
    await using proxy = await TcpProxy.start(server.url);
    const pool = open({ connectionString: proxy.through(server.url), minSize: 1, maxSize: 1, validateAfterIdleMs: 0 });
    await pool.start();
    proxy.faults.blackHole = true;
    const query = pool.fetchOne('select 1 as one');
    await later(50);
    proxy.faults.blackHole = false;
    proxy.faults.refuse = false;
    expect(await query).toEqual({ one: 1 });
    expect(pool.stats().destroyed.broken).toBe(1);
  });
});

describe('a server that accepts and never answers', () => {
  let silent: Server;
  beforeAll(async () => {
    silent = createServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => void silent.close());

  it('is told from the others when the pool starts', async () => {
    const { port } = silent.address() as AddressInfo;
    const pool = open({
      connectionString: `postgres://user:secret@127.0.0.1:${port}/db`,
      connectTimeoutMs: 100,
      minSize: 1,
    });
    await expect(pool.start()).rejects.toMatchObject({
      code: 'ERR_CONNECT_TIMEOUT',
      message: expect.not.stringContaining('secret'),
    });
    await expect(pool.query('select 1', [], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  });
});

describe('a server that is away', () => {
  it('is asked by one connection at a time, however many wait, and all of them are told', async () => {
    let open_ = 0;
    let most = 0;
    let attempts = 0;
    const away = createServer((socket) => {
      attempts++;
      most = Math.max(most, ++open_);
      socket.on('error', () => {});
      socket.on('close', () => open_--);
      setTimeout(() => socket.destroy(), 30);
    });
    await new Promise<void>((resolve) => away.listen(0, '127.0.0.1', resolve));
    const { port } = away.address() as AddressInfo;
    const pool = open({ connectionString: `postgres://user:secret@127.0.0.1:${port}/db`, minSize: 0, maxSize: 20 });
    await expect(pool.query('select 1')).rejects.toMatchObject({ code: 'ERR_CONNECT_FAILED' });
    most = 0;
    attempts = 0;
    const calls = await Promise.allSettled(Array.from({ length: 50 }, () => pool.query('select 1')));
    expect(new Set(calls.map(({ status }) => status))).toEqual(new Set(['rejected']));
    expect([most, attempts]).toEqual([1, 1]);
    await pool.close();
    away.close();
  });
});

describe('too many connections', () => {
  it('is an error of its own at the start, and later the callers share what there is', async () => {
    const refused = open({ minSize: 40, maxSize: 40 });
    await expect(refused.start()).rejects.toMatchObject({ code: 'ERR_TOO_MANY_CONNECTIONS', sqlState: '53300' });
    await refused.close();
    await expect.poll(backends).toEqual([]);
    const pool = open({ minSize: 1, maxSize: 40 });
    await pool.start();
    const rows = await Promise.all(Array.from({ length: 100 }, () => pool.fetchOne('select 1 as one, pg_sleep(0.01)')));
    expect(rows).toHaveLength(100);
    expect(pool.stats()).toMatchObject({ queryFailures: 0, inUse: 0 });
  });
});

describe('a frozen server', () => {
  it('costs a caller at most its time-out, and is used again when it thaws', async () => {
    const pool = open({ commandTimeoutMs: 200, cancelTimeoutMs: 200, connectTimeoutMs: 500 });
    await pool.start();
    await server.pause();
    try {
      const started = performance.now();
      await expect(pool.query('select 1')).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
      expect(performance.now() - started).toBeLessThan(2_000);
      const closing = open();
      await expect(closing.query('select 1', [], { timeoutMs: 100 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
      await closing.close({ timeoutMs: 100 });
    } finally {
      await server.resume();
    }
    await expect.poll(works(pool), { timeout: 5_000 }).toBe(1);
  });
});

describe('a frozen backend', () => {
  it('costs its caller the time-out, and nobody else anything; its connection is dropped', async () => {
    const pool = open({ cancelTimeoutMs: 200 });
    await pool.start();
    const stuck = pool.query('select pg_sleep(0.5)', [], { timeoutMs: 1_000 }).catch((error: unknown) => error);
    await expect.poll(running).toHaveLength(1);
    const [frozen] = await running();
    const pid = frozen?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      const others = await Promise.all(Array.from({ length: 10 }, () => pool.fetchOne('select 1 as one')));
      expect(others).toHaveLength(10);
      expect(await stuck).toMatchObject({ code: 'ERR_TIMEOUT' });
      await expect.poll(() => pool.stats(), { timeout: 5_000 }).toMatchObject({ inUse: 0, destroyed: { broken: 1 } });
      expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await expect.poll(async () => (await backends()).length - pool.stats().size, { timeout: 5_000 }).toBe(0);
  });
});
