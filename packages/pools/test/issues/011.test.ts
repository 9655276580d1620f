import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('of a text with several statements the last one counts', async () => {
  await using pool = open();
  const two = 'select 1 as a; select 2 as b union select 3';
  expect(await pool.fetch(two)).toEqual([{ b: 2 }, { b: 3 }]);
  expect(await pool.fetchOne(two)).toEqual({ b: 2 });
  expect(await pool.execute(two)).toBe(2);
  expect(await pool.transaction((tx) => tx.fetchOne(two))).toEqual({ b: 2 });
});

test('a stream is of one statement: nothing runs behind a semicolon', async () => {
  await using pool = open();
  await pool.query('create table precious (a int)');
  await expect(pool.stream('select 1; drop table precious').next()).rejects.toMatchObject({ code: '42601' });
  expect(await pool.fetch('select * from precious')).toEqual([]);
  for await (const row of pool.stream('select 1 as one;')) expect(row).toEqual({ one: 1 });
});

test('a transaction that its function has ended is not said to be committed', async () => {
  await using pool = open();
  await pool.query('create table written (a int)');
  for (const end of ['rollback', 'commit']) {
    const ended = pool.transaction(async (tx) => {
      await tx.query('insert into written values (1)');
      await tx.query(end);
      return 'committed';
    });
    await expect(ended).rejects.toMatchObject({ code: 'ERR_TRANSACTION_ABORTED', sqlState: '25P01' });
  }
  expect(await pool.execute('select * from written')).toBe(1);
  expect(pool.stats()).toMatchObject({ created: 1, inUse: 0 });
});

test('the time-outs of a session are checked like those of the pool', async () => {
  await using pool = open();
  for (const timeoutMs of [Number.NaN, -1, '5' as never, null as never]) {
    await expect(pool.withConnection((session) => session.query('select 1', [], { timeoutMs }))).rejects.toThrow(
      'timeoutMs must be a number >= 0 or Infinity',
    );
  }
  for (const timeoutMs of [Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 53]) {
    for (const lane of ['exclusive', 'shared'] as const) {
      const row = await pool.fetchOne('select 1 as one from pg_sleep(0.01)', [], { timeoutMs, lane });
      expect(row).toEqual({ one: 1 });
    }
    const row = await pool.withConnection((session) => session.fetchOne('select 1 as one', [], { timeoutMs }));
    expect(row).toEqual({ one: 1 });
  }
  for (const lane of ['exclusive', 'shared'] as const) {
    const none = pool.query('select pg_sleep(60)', [], { timeoutMs: 0, lane });
    await expect(none).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  }
});

test('a time to close that is longer than a timer can hold is waited for', async () => {
  for (const timeoutMs of [2 ** 31, Number.POSITIVE_INFINITY]) {
    const pool = open();
    const running = pool.fetchOne('select 1 as one from pg_sleep(0.05)');
    await expect.poll(() => pool.stats().inUse).toBe(1);
    await pool.close({ timeoutMs });
    expect(await running).toEqual({ one: 1 });
  }
  await expect(async () => open().close({ timeoutMs: Number.NaN })).rejects.toThrow(RangeError);
  for (const option of ['connectTimeoutMs', 'cancelTimeoutMs']) {
    expect(() => open({ [option]: 2 ** 31 })).toThrow(RangeError);
  }
});

test('a start that a close has overtaken is refused, and leaves no connection', async () => {
  await using watch = open();
  const pool = open({ minSize: 3, maxSize: 3 });
  const starting = expect(pool.start()).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
  await pool.close();
  await starting;
  await expect(pool.start()).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
  const others = `select 1 from pg_stat_activity where datname = current_database() and backend_type = 'client backend'`;
  await expect.poll(() => watch.execute(others)).toBe(1);
});

test('what is cut off by a close is counted as closed', async () => {
  const pool = open();
  const running = expect(pool.query('select pg_sleep(60)')).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
  await expect.poll(() => pool.stats().inUse).toBe(1);
  await pool.close({ timeoutMs: 0 });
  await running;
  expect(pool.stats()).toMatchObject({ size: 0, destroyed: { closed: 1 } });
});
