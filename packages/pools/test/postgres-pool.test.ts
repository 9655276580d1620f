import { inspect } from 'node:util';
import { type PostgresService, startPostgres } from '@x/local-services';
import { type PoolQueryOptions, PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

let server: PostgresService;
let url: string;
let admin: pg.Client;
const pools: PostgresPool[] = [];

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
beforeEach(async () => {
  await admin.query('drop schema public cascade; create schema public');
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

/** The server's own view: the state and statement of each connection that is not ours. */
async function backends(): Promise<{ pid: number; state: string; query: string }[]> {
  const { rows } = await admin.query(
    `select pid, state, query from pg_stat_activity
      where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid() order by pid`,
  );
  return rows;
}
const terminateAll = () =>
  admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
  );
const running = async (): Promise<string[]> =>
  (await backends()).filter(({ state }) => state === 'active').map(({ query }) => query);
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('start()', () => {
  it('opens minSize connections, and the pool never has more than maxSize', async () => {
    const pool = open({ minSize: 3, maxSize: 5 });
    await pool.start();
    // Each has been asked something once, so that its first borrower finds it warm.
    expect((await backends()).map(({ query }) => query)).toEqual(Array(3).fill('select $1::int'));
    expect(pool.stats()).toMatchObject({ size: 3, idle: 3, inUse: 0, max: 5, created: 3 });
    let most = 0;
    let letGo = (): void => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const borrowers = Array.from({ length: 50 }, () =>
      pool.withConnection(async (connection) => {
        await gate;
        await connection.query('select 1');
        most = Math.max(most, pool.stats().size);
      }),
    );
    // Two of them are made now, which takes as long as the machine has other work.
    const inUse = { size: 5, inUse: 5, waiting: 45, utilisation: 1 };
    await expect.poll(() => pool.stats(), { timeout: 10_000 }).toMatchObject(inUse);
    letGo();
    await Promise.all(borrowers);
    expect(most).toBe(5);
    const idle = { inUse: 0, waiting: 0, utilisation: 0 };
    await expect.poll(() => pool.stats(), { timeout: 10_000 }).toMatchObject(idle);
    expect(pool.stats()).toMatchObject({ queries: 50, queryFailures: 0, acquired: 50 });
    expect(pool.stats().queryMs).toBeGreaterThan(0);
    expect(pool.stats().inUseMs).toBeGreaterThanOrEqual(pool.stats().queryMs);
  });

  it('tells apart what is wrong, without the password', async () => {
    const wrong = (change: (url: URL) => void): string => {
      const changed = new URL(url);
      change(changed);
      return changed.href;
    };
    const cases: [string, string][] = [
      ['ERR_AUTHENTICATION', wrong((to) => (to.password = 'not-the-password'))],
      ['ERR_NO_SUCH_DATABASE', wrong((to) => (to.pathname = '/nowhere'))],
      ['ERR_UNREACHABLE', wrong((to) => (to.port = '1'))],
      ['ERR_UNREACHABLE', wrong((to) => (to.hostname = 'nobody.invalid'))],
    ];
    for (const [code, connectionString] of cases) {
      const pool = open({ connectionString, minSize: 2 });
      const error = await pool.start().catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code });
      const secret = new URL(connectionString).password;
      expect(`${(error as Error).stack} ${JSON.stringify(error)} ${String((error as Error).cause)}`).not.toContain(
        secret,
      );
      await expect(pool.query('select 1')).rejects.toMatchObject({ code });
    }
  });
});

describe('a query', () => {
  it('gives rows, one row, or a count', async () => {
    const pool = open();
    await pool.query('create table t (id int primary key, name text)');
    expect(await pool.execute('insert into t values ($1, $2), (2, $2)', [1, 'a'])).toBe(2);
    expect(await pool.fetch('select * from t order by id')).toEqual([
      { id: 1, name: 'a' },
      { id: 2, name: 'a' },
    ]);
    expect(await pool.fetchOne('select name from t where id = $1', [2])).toEqual({ name: 'a' });
    expect(await pool.fetchOne('select name from t where id = $1', [3])).toBeUndefined();
    expect((await pool.query('select 1 as one', [], { name: 'one' })).rows).toEqual([{ one: 1 }]);
  });

  it('that fails does not cost the connection', async () => {
    const pool = open({ maxSize: 1 });
    for (let i = 0; i < 5; i++) await expect(pool.query('select 1/0')).rejects.toMatchObject({ code: '22012' });
    await expect(pool.query('begin; select 1/0')).rejects.toMatchObject({ code: '22012' });
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {}, queryFailures: 6 });
  });

  it('whose time is over is told at once and stops on the server, and the connection is used again', async () => {
    const pool = open({ maxSize: 1, commandTimeoutMs: 100 });
    await expect(pool.query('select pg_sleep(60)')).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(await running()).toEqual([]);
    await expect(pool.query('select pg_sleep(60)', [], { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
    });
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
  });

  it('whose caller leaves stops on the server', async () => {
    const pool = open({ maxSize: 1 });
    const controller = new AbortController();
    const query = pool.query('select pg_sleep(60)', [], { signal: controller.signal });
    await expect.poll(running).toHaveLength(1);
    const reason = new Error('gone');
    controller.abort(reason);
    await expect(query).rejects.toBe(reason);
    await expect.poll(running).toEqual([]);
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(pool.stats()).toMatchObject({ created: 1, queryFailures: 0 });
    await expect(pool.query('select 1', [], { signal: controller.signal })).rejects.toBe(reason);
  });
});

describe('waiting for a connection', () => {
  it('is first come first served, and ends when the time is over', async () => {
    const pool = open({ minSize: 1, maxSize: 1, acquireTimeoutMs: 200 });
    await pool.start();
    const order: number[] = [];
    await Promise.all([1, 2, 3].map(async (n) => order.push((await pool.fetchOne('select $1::int as n', [n]))?.n)));
    expect(order).toEqual([1, 2, 3]);
    const long = pool.query('select pg_sleep(1)');
    await expect(pool.query('select 1')).rejects.toMatchObject({
      code: 'ERR_POOL_EXHAUSTED',
      message: expect.stringMatching(/1 of 1 connections are in use, the oldest for \d+ ms/),
    });
    await long;
    expect(pool.stats()).toMatchObject({ acquireTimeouts: 1, waiting: 0 });
  });

  it('is bounded and can be given up', async () => {
    const pool = open({ maxSize: 1, maxWaiting: 1 });
    await pool.query('select 1');
    const long = pool.query('select pg_sleep(0.3)');
    const controller = new AbortController();
    const waiting = pool.query('select 1', [], { signal: controller.signal });
    await expect(pool.query('select 1')).rejects.toMatchObject({ code: 'ERR_OVERLOADED' });
    controller.abort('gone');
    await expect(waiting).rejects.toBe('gone');
    await long;
    expect(pool.stats().waiting).toBe(0);
  });
});

describe('connections', () => {
  it('are replaced after maxUses', async () => {
    const pool = open({ minSize: 1, maxSize: 1, maxUses: 3 });
    await pool.start();
    for (let i = 0; i < 7; i++) await pool.query('select 1');
    expect(pool.stats()).toMatchObject({ created: 3, destroyed: { maxUses: 2 }, size: 1 });
  });

  it('without work are closed after maxIdleMs, down to minSize', async () => {
    const pool = open({ minSize: 1, maxSize: 4, maxIdleMs: 100 });
    await pool.start();
    // Given back together: one that came back early would be closed while others are still being opened.
    const lent = await Promise.all([1, 2, 3, 4].map(() => pool.connect()));
    expect(pool.stats().size).toBe(4);
    for (const client of lent) client.release();
    await expect.poll(() => pool.stats()).toMatchObject({ size: 1, idle: 1, destroyed: { idle: 3 } });
    await expect.poll(backends).toHaveLength(1);
  });

  it('are replaced after maxLifetimeMs, not all at once, and there are never fewer than minSize', async () => {
    let random = 0;
    const pool = open({ minSize: 3, maxSize: 4, maxLifetimeMs: 300, random: () => (random = (random + 0.4) % 1) });
    await pool.start();
    const before = new Set((await backends()).map(({ pid }) => pid));
    const sizes = new Set<number>();
    await expect
      .poll(
        () => {
          sizes.add(pool.stats().size);
          return pool.stats().destroyed.lifetime ?? 0;
        },
        { interval: 2 },
      )
      .toBeGreaterThanOrEqual(3);
    expect(Math.min(...sizes)).toBe(3);
    // The server needs a moment to say goodbye.
    await expect.poll(async () => (await backends()).filter(({ pid }) => before.has(pid))).toEqual([]);
  });

  it('killed while idle are replaced in the background, and nobody notices', async () => {
    const pool = open({ minSize: 3 });
    await pool.start();
    await terminateAll();
    await expect.poll(() => pool.stats()).toMatchObject({ idle: 3, created: 6, destroyed: { broken: 3 } });
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(pool.stats().queryFailures).toBe(0);
  });

  it('killed while lent out give their borrower one clear error', async () => {
    const pool = open();
    await expect(
      pool.withConnection(async (connection) => {
        await connection.query('select 1');
        await terminateAll();
        await later(50);
        await connection.query('select 2');
      }),
    ).rejects.toMatchObject({ code: '57P01' });
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(pool.stats()).toMatchObject({ inUse: 0, destroyed: { broken: 1 } });
  });

  it('killed in mid query give their caller the SQLSTATE', async () => {
    const pool = open();
    const query = expect(pool.query('select pg_sleep(60)')).rejects.toMatchObject({ code: '57P01' });
    await expect.poll(running).toHaveLength(1);
    await terminateAll();
    await query;
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
  });
});

describe('a query that is declared idempotent', () => {
  it('is run once more when its connection is lost, and any other is not', async () => {
    const pool = open();
    await pool.query('create table runs (id int generated always as identity)');
    const slow = "with run as (insert into runs default values) select pg_sleep(0.3), 'done' as outcome";
    const query = pool.fetchOne(slow, [], { idempotent: true } as PoolQueryOptions);
    await expect.poll(running).toHaveLength(1);
    await terminateAll();
    expect(await query).toMatchObject({ outcome: 'done' });
    const other = expect(pool.query(slow)).rejects.toMatchObject({ code: '57P01' });
    await expect.poll(running).toHaveLength(1);
    await terminateAll();
    await other;
    expect(await pool.fetchOne('select count(*)::int as n from runs')).toEqual({ n: 1 });
  });
});

describe('nothing is left for the next borrower', () => {
  it('no open or failed transaction, no setting, no lock, no temporary table', async () => {
    const pool = open({ maxSize: 1 });
    await pool.withConnection(async (connection) => {
      await connection.query('begin');
      await connection.query('create temp table left_over (a int)');
    });
    await pool.withConnection(async (connection) => {
      await connection.query('begin');
      await connection.query('select 1/0').catch(() => {});
    });
    await pool.withConnection(async (connection) => {
      await connection.query("set search_path = 'nowhere'");
      await connection.query('select pg_advisory_lock(1)');
      await connection.query('create temp table left_over (a int)');
    });
    expect(
      await pool.fetchOne(
        `select current_setting('search_path') as path, to_regclass('left_over')::text as tmp,
                (select count(*)::int from pg_locks where locktype = 'advisory') as locks`,
      ),
    ).toEqual({ path: '"$user", public', tmp: null, locks: 0 });
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
  });

  it('and a borrower that keeps its connection cannot use it', async () => {
    const pool = open();
    const kept = await pool.withConnection(async (connection) => connection);
    await expect(kept.query('select 1')).rejects.toMatchObject({ code: 'ERR_RELEASED' });
  });
});

describe('transaction()', () => {
  it('commits, rolls back when its function throws, and nests', async () => {
    const pool = open({ maxSize: 2 });
    await pool.query('create table t (id int)');
    expect(
      await pool.transaction(async (tx) => {
        await tx.execute('insert into t values (1)');
        await tx
          .transaction(async (inner) => {
            await inner.execute('insert into t values (2)');
            throw new Error('inner');
          })
          .catch(() => {});
        await tx.transaction((inner) => inner.execute('insert into t values (3)'));
        return 'done';
      }),
    ).toBe('done');
    const failure = new Error('no');
    await expect(
      pool.transaction(async (tx) => {
        await tx.execute('insert into t values (4)');
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(await pool.fetch('select id from t order by id')).toEqual([{ id: 1 }, { id: 3 }]);
  });

  it('does not pretend to have committed what the server rolled back', async () => {
    const pool = open();
    await expect(
      pool.transaction(async (tx) => {
        await tx.query('select 1/0').catch(() => {});
      }),
    ).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ABORTED' });
  });

  it('runs again after a serialization failure, as often as it may', async () => {
    const pool = open();
    await pool.query('create table t (id int, n int)');
    await pool.query('insert into t values (1, 0)');
    let runs = 0;
    await Promise.all(
      [1, 2, 3].map(() =>
        pool.transaction(
          async (tx) => {
            runs++;
            const row = await tx.fetchOne<{ n: number }>('select n from t where id = 1');
            await later(20);
            await tx.execute('update t set n = $1 where id = 1', [(row?.n ?? 0) + 1]);
          },
          { isolation: 'serializable', retries: 20 },
        ),
      ),
    );
    expect(await pool.fetchOne('select n from t')).toEqual({ n: 3 });
    expect(runs).toBeGreaterThan(3);
  });

  it('is stopped by its signal', async () => {
    const pool = open({ maxSize: 1 });
    await pool.query('create table t (id int)');
    const controller = new AbortController();
    const work = pool.transaction(
      async (tx) => {
        await tx.execute('insert into t values (1)');
        await tx.query('select pg_sleep(60)');
      },
      { signal: controller.signal },
    );
    await expect.poll(running).toEqual(['select pg_sleep(60)']);
    controller.abort('gone');
    await expect(work).rejects.toBe('gone');
    expect(await pool.fetch('select * from t')).toEqual([]);
    expect(pool.stats()).toMatchObject({ created: 1 });
  });
});

describe('stream()', () => {
  it('gives every row, in batches, and gives the connection back', async () => {
    const pool = open({ maxSize: 1 });
    let sum = 0;
    for await (const row of pool.stream<{ n: number }>('select n from generate_series(1, $1::int) n', [1_000], {
      batchSize: 100,
    })) {
      sum += row.n;
    }
    expect(sum).toBe(500_500);
    expect(pool.stats()).toMatchObject({ inUse: 0, created: 1, queries: 13 });
  });

  it('can be left early, fail, and be stopped', async () => {
    const pool = open({ maxSize: 1 });
    for await (const row of pool.stream('select n from generate_series(1, 1000000) n')) if (row.n === 700) break;
    await expect(pool.stream('select 1/(n - 3) from generate_series(1, 5) n').next()).rejects.toMatchObject({
      code: '22012',
    });
    const controller = new AbortController();
    const stopped = pool.stream('select pg_sleep(60)', [], { signal: controller.signal }).next();
    await expect.poll(running).toHaveLength(1);
    controller.abort('gone');
    await expect(stopped).rejects.toBe('gone');
    const other = new AbortController();
    const abandoned = pool.stream('select generate_series(1, 3000)', [], { signal: other.signal });
    await abandoned.next();
    other.abort('gone');
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    await expect(abandoned.next()).rejects.toBe('gone');
    expect(await pool.fetch('select * from pg_cursors')).toEqual([]);
    expect(pool.stats()).toMatchObject({ inUse: 0, created: 1 });
  });
});

describe('insertMany()', () => {
  it('inserts all, in order, in one transaction, with every name quoted', async () => {
    const pool = open();
    await pool.query(
      'create table "odd "" name" (id int generated always as identity, "a; b" text, tags text[], at timestamptz)',
    );
    const rows = Array.from({ length: 12_000 }, (_, i) => [`v${i}`, [`t${i}`], new Date(i)]);
    const back = await pool.insertMany<{ id: number; 'a; b': string; tags: string[] }>(
      'odd " name',
      ['a; b', 'tags', 'at'],
      rows,
      {
        returning: ['id', 'a; b', 'tags'],
      },
    );
    expect(back.map((row) => row['a; b'])).toEqual(rows.map(([text]) => text));
    expect(back[7]).toEqual({ id: 8, 'a; b': 'v7', tags: ['t7'] });
    expect(await pool.insertMany('public.odd " name', ['a; b'], [{ 'a; b': 'x' }, { 'a; b': null }])).toBe(2);
    expect(await pool.fetchOne('select count(*)::int as n from "odd "" name"')).toEqual({ n: 12_002 });
  });

  it('writes nothing when one row cannot be written', async () => {
    const pool = open();
    await pool.query('create table t (id int primary key)');
    const rows = Array.from({ length: 10_000 }, (_, i) => [i === 9_999 ? 5 : i]);
    await expect(pool.insertMany('t', ['id'], rows)).rejects.toMatchObject({ code: '23505' });
    await expect(pool.insertMany('t', ['id'], [[1], [2, 3]])).rejects.toThrow('rows[1] must have 1 values');
    expect(await pool.fetch('select * from t')).toEqual([]);
    expect(await pool.insertMany('t', ['id'], [])).toBe(0);
  });
});

describe('close()', () => {
  it('tells who waits at once, lets what runs end, and leaves no connection', async () => {
    const pool = open({ maxSize: 1 });
    const long = pool.fetchOne('select pg_sleep(0.2), 1 as one');
    await expect.poll(running).toHaveLength(1);
    const waiting = expect(pool.query('select 2')).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    const closing = pool.close();
    await waiting;
    await expect(pool.query('select 3')).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    expect(await long).toMatchObject({ one: 1 });
    await closing;
    await pool.close();
    await expect.poll(backends).toEqual([]);
    expect(pool.stats()).toMatchObject({ size: 0, destroyed: { closed: 1 } });
  });

  it('cancels what does not end in time', async () => {
    const pool = open();
    const long = expect(pool.query('select pg_sleep(60)')).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    await expect.poll(running).toHaveLength(1);
    await pool.close({ timeoutMs: 50 });
    await long;
    await expect.poll(backends).toEqual([]);
  });
});

it('refuses options that mean nothing', () => {
  expect(() => open({ maxSize: 0 })).toThrow('@x/pools: PostgresPool.maxSize must be an integer >= 1, got 0');
  expect(() => open({ minSize: 5, maxSize: 4 })).toThrow('minSize');
  expect(() => open({ commandTimeoutMs: Number.NaN })).toThrow(RangeError);
  const error = (() => {
    try {
      return open({ connectionString: 'postgres://user:se cret@host:port:port/db' });
    } catch (thrown) {
      return thrown;
    }
  })();
  expect(error).toBeInstanceOf(TypeError);
  expect(inspect(error)).not.toContain('cret');
});
