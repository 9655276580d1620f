import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('parameters that do not fit their statement cost no connection', async () => {
  await using pool = open();
  await expect(pool.query('select $1::int, $2::int', [1])).rejects.toMatchObject({ code: '08P01' });
  await expect(pool.transaction((tx) => tx.query('select $1::int', [1, 2]))).rejects.toMatchObject({ code: '08P01' });
  expect(await pool.fetchOne('select $1::int as n', [7])).toEqual({ n: 7 });
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('an error that a foreign server is said to have had costs no connection', async () => {
  await using pool = open();
  const raise = `do $$ begin raise exception 'remote' using errcode = '08006'; end $$`;
  await expect(pool.query(raise)).rejects.toMatchObject({ code: '08006', severity: 'ERROR' });
  await expect(pool.query(raise, [], { idempotent: true })).rejects.toMatchObject({ code: '08006' });
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {}, queryFailures: 2 });
});

test('more parameters than the protocol can count are refused before they are sent', async () => {
  await using pool = open();
  // 65,537 of them would be sent as a count of one.
  const many = Array(65_537).fill(1);
  for (const refused of [
    () => pool.query('select $1::int', many),
    () => pool.query({ text: 'select $1::int', values: many }),
    () => pool.query('select $1::int', many, { lane: 'shared' }),
    () => pool.stream('select $1::int', many).next(),
    () => pool.withConnection((session) => session.query('select $1::int', many)),
  ]) {
    await expect(refused()).rejects.toThrow('params must be 65535 values at most, got 65537');
  }
  const places = Array.from({ length: 65_535 }, (_, n) => `($${n + 1}::int)`);
  const most = await pool.fetchOne(`select sum(n)::int as n from (values ${places}) v (n)`, Array(65_535).fill(2));
  expect(most).toEqual({ n: 131_070 });
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('parameters and rows that are no lists, and lists without a name, are refused in words', async () => {
  await using pool = open();
  await pool.query('create table refused (a int)');
  await expect(pool.query('select $1::int', 5 as never)).rejects.toThrow('params must be an array, got 5');
  await expect(pool.query('select 1', null as never)).rejects.toThrow('params must be an array, got null');
  await expect(pool.insertMany('refused', ['a'], new Set([[1]]) as never)).rejects.toThrow('rows must be an array');
  await expect(pool.insertMany('refused', ['a'], [[1], null as never])).rejects.toThrow('rows[1] must be an array or');
  await expect(pool.insertMany('refused', ['a'], [[1]], { returning: [] })).rejects.toThrow('returning must name');
  await expect(pool.insertMany('refused', [], [[]])).rejects.toThrow('columns must name');
  await expect(pool.stream({ text: 'select 1' } as never).next()).rejects.toThrow('sql must be a text');
  expect(await pool.fetch('select * from refused')).toEqual([]);
});

test('values are what pg makes of them, and one that cannot be sent costs nothing', async () => {
  await using pool = open();
  const back = async (value: unknown, type: string) =>
    (await pool.fetchOne<{ v: unknown }>(`select $1::${type} as v`, [value]))?.v;
  expect(await back(undefined, 'text')).toBeNull();
  expect(await back(Number.NaN, 'float8')).toBeNaN();
  expect(await back(new Date(5), 'timestamptz')).toEqual(new Date(5));
  expect(await back(Buffer.from([0, 255]), 'bytea')).toEqual(Buffer.from([0, 255]));
  expect(await back({ a: [1, null] }, 'jsonb')).toEqual({ a: [1, null] });
  expect(await back(JSON.stringify([1]), 'jsonb')).toEqual([1]);
  expect(await back([], 'int[]')).toEqual([]);
  expect(await back([1, undefined], 'int[]')).toEqual([1, null]);
  const circular: { self?: unknown } = {};
  circular.self = circular;
  await expect(back(circular, 'jsonb')).rejects.toThrow(TypeError);
  await expect(back(Number.NaN, 'int')).rejects.toMatchObject({ code: '22P02' });
  await expect(back('\0', 'text')).rejects.toMatchObject({ code: '22021' });
  const sulking = { toPostgres: () => assert() };
  const assert = (): never => {
    throw new Error('not today');
  };
  await expect(back(sulking, 'text')).rejects.toThrow('not today');
  await expect(pool.query('select $1::text as v', [sulking], { lane: 'shared' })).rejects.toThrow('not today');
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});
