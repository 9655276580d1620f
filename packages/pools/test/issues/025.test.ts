// insertMany sends an array for each column; what cannot be sent so must arrive as it did.
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('what an array for each column could change arrives as it is', async () => {
  await using pool = open();
  await pool.query(`create domain short as text check (length(value) < 9)`);
  await pool.query(`create type mood as enum ('well', 'ill')`);
  await pool.query(`create table odd (id serial, code char(3), word text, data jsonb, raw bytea, at timestamptz,
    amount numeric(9, 2), big bigint, flag bool, short short, mood mood, bits bit(3), span interval)`);
  const columns = ['code', 'word', 'data', 'raw', 'at', 'amount', 'big', 'flag', 'short', 'mood', 'bits', 'span'];
  const at = new Date('2026-01-02T03:04:05.678Z');
  const rows = [
    [
      'abc',
      'NULL',
      { a: [1, '"', '\\'] },
      Buffer.from([0, 255, 92]),
      at,
      '12.34',
      9007199254740993n,
      true,
      'x',
      'well',
      '101',
      '1 day',
    ],
    ['a', '', 'null', Buffer.alloc(0), at, 0, '-1', false, '{}', 'ill', '000', '2 hours'],
    ['"{}', '{a,"b\\"}', '{"b":null}', null, null, null, null, null, null, null, null, undefined],
  ];
  const one = await open();
  await using _ = one;
  for (const row of rows) {
    await one.query(`insert into odd (${columns}) values (${columns.map((_, i) => `$${i + 1}`)})`, row);
  }
  const wanted = await pool.fetch(`select ${columns} from odd order by id`);
  for (const returning of [undefined, columns]) {
    await pool.query('truncate odd');
    const given = await pool.insertMany('odd', columns, rows, returning === undefined ? {} : { returning });
    expect(await pool.fetch(`select ${columns} from odd order by id`)).toEqual(wanted);
    expect(given).toEqual(returning === undefined ? 3 : wanted);
  }
});

test.each([undefined, ['id', 'list'] as const])('arrays are rows of their own, returning %j', async (returning) => {
  await using pool = open();
  await pool.query('drop table if exists lists');
  await pool.query('create table lists (id serial, list int[], word text)');
  const rows = [
    [[1, 2], 'a'],
    [[], 'b'],
    [null, 'c'],
  ];
  await pool.insertMany('lists', ['list', 'word'], rows, returning === undefined ? {} : { returning });
  await pool.insertMany('lists', ['list', 'word'], [['{3,4}', 'd']], returning === undefined ? {} : { returning });
  expect((await pool.fetch<{ list: unknown }>('select list from lists order by id')).map(({ list }) => list)).toEqual([
    [1, 2],
    [],
    null,
    [3, 4],
  ]);
});

test('an array for a column of text or of a domain is one of PostgreSQL', async () => {
  await using pool = open();
  await pool.query('create domain pair as int[] check (cardinality(value) = 2)');
  await pool.query('create table worded (word text, two pair)');
  await pool.insertMany(
    'worded',
    ['word', 'two'],
    [
      [
        ['a', 'b'],
        [1, 2],
      ],
    ],
  );
  expect(await pool.fetch('select word, two::text from worded')).toEqual([{ word: '{"a","b"}', two: '{1,2}' }]);
});

test('a column that is not there is told of by its name, and nothing is inserted', async () => {
  await using pool = open();
  await pool.query('create table short_of (id int)');
  await expect(pool.insertMany('short_of', ['id', 'missing'], [[1, 2]])).rejects.toMatchObject({ code: '42703' });
  await expect(pool.insertMany('not_there', ['id'], [[1]])).rejects.toMatchObject({ code: '42P01' });
  expect(await pool.fetch('select * from short_of')).toEqual([]);
});
