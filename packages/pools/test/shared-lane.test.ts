import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

let server: PostgresService;
let url: string;
let admin: pg.Client;
const pools: PostgresPool[] = [];
const shared = { lane: 'shared' } as const;

beforeAll(async () => {
  server = await startPostgres();
  url = await server.createDatabase();
  admin = new pg.Client({ connectionString: url });
  await admin.connect();
});
afterAll(async () => {
  await admin?.end();
  await server?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
  await expect.poll(backends, { timeout: 5_000 }).toEqual([]);
});

function open(options: PostgresPoolOptions = {}): PostgresPool {
  const pool = new PostgresPool({ connectionString: url, minSize: 0, maxSize: 4, ...options });
  pools.push(pool);
  return pool;
}
async function backends(): Promise<{ pid: number; state: string; query: string }[]> {
  const { rows } = await admin.query(
    `select pid, state, query from pg_stat_activity
      where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`,
  );
  return rows;
}
const running = async (): Promise<string[]> =>
  (await backends()).filter(({ state }) => state === 'active').map(({ query }) => query);
const atRest = (pool: PostgresPool) =>
  expect.poll(() => pool.stats(), { timeout: 5_000 }).toMatchObject({ inUse: 0, waiting: 0 });

/** A lock that statements of the lane run into, until it is let go. */
async function gate(): Promise<{ text: string; open(): Promise<void> }> {
  const key = Math.floor(Math.random() * 1e9);
  await admin.query('select pg_advisory_lock($1)', [key]);
  return {
    text: `select pg_advisory_xact_lock_shared(${key}) is null as passed`,
    open: async () => void (await admin.query('select pg_advisory_unlock($1)', [key])),
  };
}

describe('the shared lane', () => {
  it('carries the reads of many callers over few connections, each with its own result or error', async () => {
    // On a machine that is busy a connection may be found behind, and another one joins: here no time passes.
    const pool = open({ minSize: 4, clock: new ManualClock() });
    await pool.start();
    const reads = Array.from({ length: 200 }, (_, n) =>
      n % 10 === 0
        ? pool.query('select 1/$1::int', [0], shared).catch((error) => error.code)
        : pool.fetchOne<{ n: number; pid: number }>('select $1::int as n, pg_backend_pid() as pid', [n], shared),
    );
    const results = await Promise.all(reads);
    const pids = new Set<number>();
    for (const [n, result] of results.entries()) {
      if (n % 10 === 0) expect(result).toBe('22012');
      else {
        expect(result.n).toBe(n);
        pids.add(result.pid);
      }
    }
    expect(pids.size).toBeLessThanOrEqual(2);
    expect(pool.stats()).toMatchObject({ size: 4, queries: 200, queryFailures: 20 });
    await atRest(pool);
    // The connections are as good as any afterwards, for cursors too.
    expect(await pool.fetch('select 1 as one')).toEqual([{ one: 1 }]);
    for await (const row of pool.stream('select 5 as n')) expect(row.n).toBe(5);
  });

  it('takes reads only, one to a statement, and names of lanes that exist', async () => {
    const pool = open();
    const refused = [
      'begin',
      'insert into t values (1)',
      'set work_mem = 1',
      '-- select\ncommit',
      '/* select */ delete from t',
      'selection',
      '',
    ];
    for (const text of refused) {
      await expect(pool.query(text, [], shared), text).rejects.toThrow(/lane: 'shared' must be given a statement that/);
    }
    await expect(pool.query('select 1; begin', [], shared)).rejects.toMatchObject({ code: '42601' });
    const reads = [
      '-- why\n/* who */ SELECT 1',
      '(select 1)',
      'values (1)',
      'with a as (select 1) table a',
      'show lc_messages',
    ];
    for (const text of reads) expect((await pool.query(text, [], shared)).rows, text).toHaveLength(1);
    await expect(pool.query('select 1', [], { lane: 'fast' as 'shared' })).rejects.toThrow(TypeError);
    await atRest(pool);
  });

  it('does not let those behind wait for a statement that runs long, which still gets its result', async () => {
    const pool = open({ maxSize: 2 });
    const { text, open: letGo } = await gate();
    const order: string[] = [];
    const long = pool.fetchOne(text, [], shared).then((row) => order.push(`long ${row?.passed}`));
    const behind = Array.from({ length: 30 }, (_, n) =>
      pool.fetchOne('select $1::int as n', [n], shared).then((row) => {
        expect(row?.n).toBe(n);
        order.push('short');
      }),
    );
    await Promise.all(behind);
    expect(order).not.toContain('long false');
    expect(pool.stats().sharedMoves).toBeGreaterThan(0);
    expect(pool.stats().sharedMoves).toBeLessThanOrEqual(30);
    // Nor those that come later.
    expect(await pool.fetchOne('select 2 as n', [], shared)).toEqual({ n: 2 });
    await letGo();
    await long;
    expect(order.at(-1)).toBe('long false');
    await atRest(pool);
  });

  it('tells the caller whose time is over, stops the statement on the server, and runs its neighbours elsewhere', async () => {
    const pool = open({ maxSize: 2 });
    const { text, open: letGo } = await gate();
    const slow = pool.query(text, [], { ...shared, timeoutMs: 40 }).catch((error) => error);
    const neighbours = Array.from({ length: 20 }, (_, n) => pool.fetchOne('select $1::int as n', [n], shared));
    expect(await slow).toMatchObject({ code: 'ERR_TIMEOUT' });
    expect((await Promise.all(neighbours)).map((row) => row?.n)).toEqual([...Array(20).keys()]);
    await expect.poll(running).toEqual([]);
    await atRest(pool);
    expect(pool.stats()).toMatchObject({ queryFailures: 1, destroyed: {} });
    await letGo();
  });

  it('holds to commandTimeoutMs too', async () => {
    const pool = open({ commandTimeoutMs: 100 });
    const { text, open: letGo } = await gate();
    await expect(pool.query(text, [], shared)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await expect.poll(running).toEqual([]);
    await atRest(pool);
    await letGo();
  });

  it('stops on the server what its caller has left, and tells the caller at once', async () => {
    const pool = open();
    const { text, open: letGo } = await gate();
    const controller = new AbortController();
    const first = pool.query(text, [], { ...shared, signal: controller.signal }).catch((error) => error);
    const neighbour = pool.fetchOne('select 7 as n', [], shared);
    controller.abort('gone');
    expect(await first).toBe('gone');
    expect(await neighbour).toEqual({ n: 7 });
    await expect.poll(running).toEqual([]);
    await atRest(pool);
    expect(pool.stats().queryFailures).toBe(0);
    await letGo();
  });

  it('whose connection is killed runs its statements elsewhere; one that kills fails alone', async () => {
    const pool = open({ maxSize: 3 });
    const { text, open: letGo } = await gate();
    const first = pool.fetchOne(text, [], shared);
    await expect.poll(running).toHaveLength(1);
    const others = Array.from({ length: 10 }, (_, n) => pool.fetchOne('select $1::int as n', [n], shared));
    await admin.query(
      // That one alone: another may be there by now, and what runs is run again only once.
      `select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query like '%advisory_xact%'`,
    );
    await letGo();
    expect((await Promise.all(others)).map((row) => row?.n)).toEqual([...Array(10).keys()]);
    expect(await first).toEqual({ passed: false });

    const poison = pool.query('select pg_terminate_backend(pg_backend_pid())', [], shared).catch((error) => error);
    const innocent = Array.from({ length: 10 }, (_, n) => pool.fetchOne('select $1::int as n', [n], shared));
    expect(await poison).toMatchObject({ code: '57P01' });
    expect((await Promise.all(innocent)).map((row) => row?.n)).toEqual([...Array(10).keys()]);
    await atRest(pool);
  });

  it('keeps to the budget of connections, and lets others have them when it has its own for long', async () => {
    const pool = open({ minSize: 1, maxSize: 1 });
    await pool.start();
    let going = true;
    const reader = async () => {
      while (going) await pool.query('select 1', [], shared);
    };
    const readers = Array.from({ length: 5 }, reader);
    for (let n = 0; n < 3; n++) {
      expect(await pool.fetchOne('select pg_backend_pid() > 0 as ok')).toEqual({ ok: true });
      expect(await pool.withConnection((connection) => connection.fetchOne('select 2 as two'))).toEqual({ two: 2 });
    }
    going = false;
    await Promise.all(readers);
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
    await atRest(pool);
  });

  it('waits for a connection like anybody: for so long, so many, and not when the caller leaves', async () => {
    const empty = open({ maxSize: 1, maxWaiting: 0 });
    expect(await empty.fetchOne('select 1 as n', [], shared)).toEqual({ n: 1 });
    const pool = open({ maxSize: 1, acquireTimeoutMs: 60, maxWaiting: 3 });
    await pool.start();
    const held = await pool.connect();
    const controller = new AbortController();
    const left = pool.query('select 1', [], { ...shared, signal: controller.signal }).catch((error) => error);
    const late = pool.query('select 1', [], { ...shared, timeoutMs: 20 }).catch((error) => error);
    const waiting = pool.query('select 1', [], shared).catch((error) => error);
    expect(pool.stats().waiting).toBe(3);
    await expect(pool.query('select 1', [], shared)).rejects.toMatchObject({ code: 'ERR_OVERLOADED' });
    controller.abort('left');
    expect(await left).toBe('left');
    expect(await late).toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(await waiting).toMatchObject({
      code: 'ERR_POOL_EXHAUSTED',
      message: expect.stringContaining('1 of 1 connections are in use'),
    });
    const served = pool.fetchOne('select 3 as n', [], shared);
    held.release();
    expect(await served).toEqual({ n: 3 });
    expect(pool.stats()).toMatchObject({ waiting: 0, acquireTimeouts: 1 });
    await atRest(pool);
  });

  it('says why when the server cannot be reached, and that the pool is closed', async () => {
    const away = open({ connectionString: 'postgres://nobody:secret@127.0.0.1:1/db' });
    await expect(away.query('select 1', [], shared)).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' });

    const pool = open({ maxSize: 1 });
    const { text, open: letGo } = await gate();
    const runs = pool.query(text, [], shared).catch((error) => error.code);
    await expect.poll(running).toHaveLength(1);
    const behind = pool.query('select 1', [], shared).catch((error) => error.code);
    const closing = pool.close({ timeoutMs: 50 });
    await expect(pool.query('select 1', [], shared)).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    expect(await behind).toBe('ERR_POOL_CLOSED');
    expect(await runs).toBe('ERR_POOL_CLOSED');
    await closing;
    await letGo();
  });

  it('replaces its connections after maxUses', async () => {
    const pool = open({ minSize: 1, maxSize: 2, maxUses: 20 });
    await pool.start();
    const pids = new Set<number>();
    while (pids.size < 4) {
      const rows = await Promise.all(
        Array.from({ length: 5 }, () => pool.fetchOne<{ pid: number }>('select pg_backend_pid() as pid', [], shared)),
      );
      for (const row of rows) pids.add(row?.pid ?? 0);
    }
    expect(pool.stats().destroyed).toEqual({ maxUses: expect.any(Number) });
    await atRest(pool);
  });

  it('gives every caller its own outcome, whatever happens to the others', async () => {
    const kinds = fc.constantFrom('read', 'wrong', 'unparsable', 'sleep', 'late', 'left', 'kill', 'exclusive');
    await fc.assert(
      fc.asyncProperty(fc.array(kinds, { minLength: 1, maxLength: 40 }), async (plan) => {
        const pool = open({ maxSize: 3, sharedStallMs: 4 });
        const outcomes = await Promise.all(
          plan.map(async (kind, n) => {
            const ask = (text: string, options: object = {}) =>
              pool.fetchOne<{ n: number }>(text, [n], { ...shared, ...options }).then(
                (row) => row?.n,
                (error) => error.code ?? error,
              );
            const controller = new AbortController();
            if (kind === 'left') queueMicrotask(() => controller.abort('gone'));
            switch (kind) {
              case 'wrong':
                return ask('select 1/($1::int * 0) as n');
              case 'unparsable':
                return ask('select $1::int n n n');
              case 'sleep':
                return ask('select $1::int as n from pg_sleep(0.02)');
              case 'late':
                return ask('select $1::int as n from pg_sleep(20)', { timeoutMs: 10 });
              case 'left':
                return ask('select $1::int as n from pg_sleep(20)', { signal: controller.signal });
              case 'kill':
                return ask('select $1::int as n, pg_terminate_backend(pg_backend_pid())');
              case 'exclusive':
                return ask('select $1::int as n', { lane: 'exclusive', idempotent: true });
              default:
                return ask('select $1::int as n', n % 2 === 0 ? { name: 'read' } : {});
            }
          }),
        );
        const expected: Record<string, unknown> = {
          wrong: '22012',
          unparsable: '42601',
          late: 'ERR_TIMEOUT',
          left: 'gone',
          kill: '57P01',
        };
        expect(outcomes).toEqual(plan.map((kind, n) => expected[kind] ?? n));
        await atRest(pool);
        await pool.close();
      }),
      { numRuns: 25, interruptAfterTimeLimit: 12_000 },
    );
  });
});

describe('a statement that is prepared under a name', () => {
  for (const lane of ['exclusive', 'shared'] as const) {
    it(`survives a change of its table and the loss of its name (${lane})`, async () => {
      const pool = open({ minSize: 2, maxSize: 2 });
      await pool.start();
      await pool.query('create table changing (a int); ');
      await pool.query('insert into changing values (1)');
      const read = () => pool.fetch('select * from changing', [], { name: 'read', lane });
      const all = async () => await Promise.all(Array.from({ length: 6 }, read));
      expect(await all()).toEqual(Array(6).fill([{ a: 1 }]));
      await pool.query('alter table changing add b int');
      expect(await all()).toEqual(Array(6).fill([{ a: 1, b: null }]));
      // However many were refused at once: one new name.
      const names = await pool.fetch<{ name: string }>('select name from pg_prepared_statements');
      for (const { name } of names) expect(['read', 'read (1)']).toContain(name);
      await Promise.all(
        [1, 2].map(() =>
          pool.withConnection(async (session) => {
            await session.query('select pg_sleep(0.05)');
            await session.query('deallocate all');
          }),
        ),
      );
      expect(await all()).toEqual(Array(6).fill([{ a: 1, b: null }]));
      expect(pool.stats().destroyed).toEqual({});
      await pool.query('drop table changing');
    });
  }

  it('in a session is prepared anew outside of a transaction, and in one is an error once', async () => {
    const pool = open({ maxSize: 1 });
    const named = { name: 'one' };
    await pool.withConnection(async (session) => {
      await session.query('select 1 as n', [], named);
      await session.query('deallocate all');
      expect(await session.fetchOne('select 1 as n', [], named)).toEqual({ n: 1 });
      await session.query('deallocate all');
      const failing = session.transaction((tx) => tx.query('select 1 as n', [], named));
      await expect(failing).rejects.toMatchObject({ code: '26000' });
      expect(await session.transaction((tx) => tx.fetchOne('select 1 as n', [], named))).toEqual({ n: 1 });
    });
  });
});
