import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { PostgresPool } from '@x/pools/postgres';
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

// What one borrower had begun, or had left in its session, reached the next one.

const open = ownDatabase();

function gate(): { passed: Promise<void>; open: () => void } {
  let pass = (): void => {};
  const passed = new Promise<void>((resolve) => {
    pass = resolve;
  });
  return { passed, open: pass };
}

/** A transaction that nobody waits for, and another one that gets its connection before it has ended. */
async function overtaken(
  pool: PostgresPool,
  begin: (rest: Promise<void>) => Promise<{ stray: Promise<unknown> }>,
): Promise<{ stray: unknown; rows: unknown[] }> {
  await pool.query('create table if not exists written (who text); truncate written');
  const rest = gate();
  const { stray } = await begin(rest.passed);
  const outcome = stray.catch((error) => error);
  const next = pool.transaction(async (tx) => {
    await tx.query(`insert into written values ('next')`);
    rest.open();
    await outcome;
    expect(await tx.fetch('select who from written')).toEqual([{ who: 'next' }]);
    throw new Error('roll me back');
  });
  await expect(next).rejects.toThrow('roll me back');
  return { stray: await outcome, rows: await pool.fetch('select who from written') };
}

test('a transaction that outlives its session neither commits nor writes in that of the next borrower', async () => {
  await using pool = open();
  const writing = await overtaken(pool, (rest) =>
    pool.withConnection(async (session) => ({
      stray: session.transaction(async (tx) => {
        await rest;
        await tx.query(`insert into written values ('stray')`);
      }),
    })),
  );
  expect(writing).toMatchObject({ stray: { code: 'ERR_RELEASED' }, rows: [] });
  const committing = await overtaken(pool, (rest) =>
    pool.withConnection(async (session) => ({ stray: session.transaction(() => rest) })),
  );
  expect(committing).toMatchObject({ stray: { code: 'ERR_RELEASED' }, rows: [] });
  expect(pool.stats()).toMatchObject({ created: 1, inUse: 0 });
});

test('nor does one that outlives the transaction around it, by its success or by its failure', async () => {
  await using pool = open();
  for (const fail of [false, true]) {
    const nested = await overtaken(pool, (rest) =>
      pool.transaction(async (tx) => ({
        stray: tx.transaction(async (inner) => {
          await rest;
          if (fail) throw new Error('too late');
          await inner.query(`insert into written values ('stray')`);
        }),
      })),
    );
    expect(nested.rows).toEqual([]);
    expect(nested.stray).toMatchObject(fail ? { message: 'too late' } : { code: 'ERR_RELEASED' });
  }
});

test('two transactions at once on one session are not one', async () => {
  await using pool = open();
  await pool.query('create table twice (who text)');
  await pool.withConnection(async (session) => {
    const one = session.transaction((tx) => tx.query(`insert into twice values ('one')`));
    const two = session.transaction((tx) => tx.query(`insert into twice values ('two')`));
    await expect(two).rejects.toMatchObject({ code: 'ERR_RELEASED' });
    await one;
  });
  expect(await pool.fetch('select who from twice')).toEqual([{ who: 'one' }]);
});

test('a transaction that is left as it begins leaves none open in its session', async () => {
  await using pool = open();
  for (let n = 0; n < 30; n++) {
    await pool.withConnection(async (session) => {
      const controller = new AbortController();
      const left = session.transaction(async () => {}, { signal: controller.signal });
      if (n % 3 === 0) controller.abort('gone');
      else setTimeout(() => controller.abort('gone'), n % 3);
      await left.catch((reason) => expect(reason).toBe('gone'));
      const open_ = await session.fetchOne('select now() = statement_timestamp() as outside');
      expect(open_).toEqual({ outside: true });
    });
  }
});

test('a nested transaction that says what it cannot have is refused, and one whose error was swallowed says so', async () => {
  await using pool = open();
  await pool.query('create table nested (a int)');
  for (const options of [{ isolation: 'serializable' } as const, { readOnly: true }]) {
    const asked = pool.transaction((tx) => tx.transaction(async () => {}, options));
    await expect(asked).rejects.toThrow('isolation and readOnly must be said of the outermost transaction');
  }
  await pool.transaction(async (tx) => {
    await tx.query('insert into nested values (1)');
    const swallowing = tx.transaction(async (inner) => {
      await inner.query('insert into nested values (2)');
      await inner.query('select 1/0').catch(() => {});
    });
    await expect(swallowing).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ABORTED', sqlState: '25P02' });
    await tx.transaction((inner) => inner.query('insert into nested values (3)'), { readOnly: false });
  });
  expect(await pool.fetch('select a from nested')).toEqual([{ a: 1 }, { a: 3 }]);
  const ended = pool.transaction((tx) => tx.transaction((inner) => inner.query('commit')));
  await expect(ended).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ABORTED', sqlState: '25P01' });
  expect(pool.stats()).toMatchObject({ created: 1, inUse: 0 });
});

test('a transaction of a session is run again as often as it may', async () => {
  await using pool = open();
  let runs = 0;
  const failing = pool.withConnection((session) =>
    session.transaction(
      async (tx) => {
        runs++;
        await tx.query(`do $$ begin raise exception 'again' using errcode = '40001'; end $$`);
      },
      { retries: 2 },
    ),
  );
  await expect(failing).rejects.toMatchObject({ code: '40001' });
  expect(runs).toBe(3);
});

test('SET and LISTEN are undone after a query or a transaction, unless it is to be so', async () => {
  const searched = async (pool: PostgresPool) =>
    (await pool.fetchOne<{ path: string }>(`select current_setting('search_path') as path`))?.path;
  const set = `set search_path = 'mine'`;
  await using pool = open();
  const usual = await searched(pool);
  await pool.query(set);
  expect(await searched(pool)).toBe(usual);
  await pool.query(`select 1; ${set}`);
  expect(await searched(pool)).toBe(usual);
  await pool.transaction((tx) => tx.query(set));
  expect(await searched(pool)).toBe(usual);
  await pool.query('listen something');
  expect(await pool.fetch('select pg_listening_channels()')).toEqual([]);
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });

  await using keeping = open({ reset: 'never' });
  await keeping.query(set);
  expect(await searched(keeping)).toBe('mine');
});

test.each([
  ['a lock', 'select pg_advisory_lock(7)'],
  ['a lock by an attempt', 'SELECT PG_TRY_ADVISORY_LOCK_SHARED(7)'],
  ['a lock of a statement that fails', 'select pg_advisory_lock(7), 1 / (select 0)'],
  ['a lock among several statements', 'select 1; select pg_advisory_lock(7)'],
  ['a setting', `select set_config('search_path', 'mine', false)`],
  ['a temporary table', 'create temporary table left (id int)'],
  ['a temporary table of a query', 'select 1 as id into temp left'],
  ['a temporary view', 'create or replace temp view left as select 1 as id'],
  ['a cursor', 'declare left cursor with hold for select 1'],
])('%s by a single statement does not reach the next borrower', async (_, text) => {
  await using pool = open();
  const state = () =>
    pool.fetchOne(`select current_setting('search_path') as path, to_regclass('left')::text as relation,
      (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
      (select count(*)::int from pg_cursors where name = 'left') as cursors`);
  const before = await state();
  await pool.query(text).catch(() => {});
  expect(await state()).toEqual(before);
  await pool.transaction((tx) => tx.query(text)).catch(() => {});
  expect(await state()).toEqual(before);
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('the shared lane takes no statement that leaves something in its session', async () => {
  await using pool = open();
  for (const text of ['select pg_advisory_lock(7)', `select set_config('search_path', 'mine', false)`]) {
    await expect(pool.query(text, [], { lane: 'shared' })).rejects.toThrow(/leaves nothing in its session, got one/);
  }
});

test('what ends with its transaction costs no reset', async () => {
  await using pool = open();
  await using watch = open();
  const pid = (await pool.fetchOne<{ pid: number }>('select pg_backend_pid() as pid'))?.pid;
  await pool.transaction(async (tx) => {
    await tx.query('set transaction read only');
    await tx.query(`SET LOCAL search_path = 'mine'`);
    await tx.query('select pg_advisory_xact_lock(7)');
  });
  expect(await watch.fetchOne('select query from pg_stat_activity where pid = $1', [pid])).toEqual({ query: 'COMMIT' });
});

test('what a listener throws later ends nothing', async () => {
  await using pool = open({ maxSize: 2 });
  const heard: string[] = [];
  const failing = async (): Promise<void> => {
    throw new Error('badly heard');
  };
  const bad = await pool.listen('news', failing as () => void);
  const good = await pool.listen('news', (payload) => heard.push(payload));
  await pool.query(`select pg_notify('news', 'one')`);
  await expect.poll(() => heard).toEqual(['one']);
  await Promise.all([bad.close(), good.close()]);
});

test('the stack of an error of the server ends where the caller is', async () => {
  await using pool = open();
  async function whoAsks(ask: () => Promise<unknown>): Promise<unknown> {
    return await ask();
  }
  const asks: (() => Promise<unknown>)[] = [
    () => pool.query('select 1/0'),
    () => pool.fetch('select 1/0', [], { lane: 'shared' }),
    () => pool.query('select pg_sleep(60)', [], { timeoutMs: 20 }),
    () => pool.transaction((tx) => tx.query('select 1/0')),
  ];
  for (const ask of asks) {
    const error = (await whoAsks(ask).catch((thrown) => thrown)) as Error;
    expect(error.stack).toContain('whoAsks');
    expect(error.stack).not.toMatch(/node:net|query-executor/);
  }
});

test('an idle connection does not hold the result of its last query', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await using pool = open();
  const rows = async () => new WeakRef(await pool.fetch('select generate_series(1, 10)'));
  const kept = await rows();
  await expect
    .poll(() => {
      collect();
      return kept.deref() === undefined;
    })
    .toBe(true);
  expect(pool.stats().idle).toBe(1);
});
