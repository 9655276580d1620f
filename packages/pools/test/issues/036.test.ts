// What a comment, or an identifier in Unicode escapes, had made unlike what was searched for in a statement's text stayed in the session for the
// next borrower, and so did what PREPARE had made there.
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

const left = `select (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
  (select count(*)::int from pg_class where relnamespace = pg_my_temp_schema()) as relations,
  (select count(*)::int from pg_cursors where is_holdable) as cursors,
  (select count(*)::int from pg_prepared_statements where from_sql) as statements`;

test('what a text does is undone however it is written', async () => {
  await using pool = open();
  await pool.query(
    `create function lock_here(a int) returns int language sql as 'select pg_advisory_lock(a); select a'`,
  );
  const nothing = { locks: 0, relations: 0, cursors: 0, statements: 0 };
  expect(await pool.fetchOne(left)).toEqual(nothing);
  const texts = [
    'create/**/temp table here (a int)',
    'create /* /* */ */ temp table here (a int)',
    'create -- why\ntemp table here (a int)',
    'create -- /*\rlocal/* -- */temporary table here (a int)',
    'create or/**/replace/**/temp view here as select 1 as a',
    'select 1 as a into/**/temp here',
    'create table "pg_temp"/**/. here (a int)',
    `create table U&"pg!005ftemp" uescape '!'.here (a int)`,
    'declare here cursor with/**/hold for select 1',
    'select lock_here /* /* ( */ x */ (1)',
    'select"lock_here"(1)',
    `select U&"pg!005fadvisory!005flock" uescape '!' (1)`,
    `select 'count/*', lock_here(1), '*/('`,
    'prepare here as select 1',
    '/* here */ prepare here as select 1; select 1',
  ];
  for (const text of texts) {
    await pool.query(text);
    expect(await pool.fetchOne(left), text).toEqual(nothing);
    await pool.transaction((tx) => tx.query(text));
    expect(await pool.fetchOne(left), `in a transaction: ${text}`).toEqual(nothing);
  }
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('statements that were prepared or dropped by SQL are as they were, and so are those of the client', async () => {
  await using pool = open();
  const add = (a: number) => pool.fetchOne<{ sum: number }>('select $1::int + 1 as sum', [a], { name: 'add' });
  // In a transaction nothing can be prepared anew when it turns out to be missing.
  const addIn = (a: number) =>
    pool.transaction((tx) => tx.fetchOne<{ sum: number }>('select $1::int + 1 as sum', [a], { name: 'add' }));
  expect(await add(1)).toEqual({ sum: 2 });
  for (const text of ['prepare here as select 1', 'deallocate add', 'deallocate all', 'discard all']) {
    for (let n = 0; n < 2; n++) {
      await pool.withConnection((session) => session.query(text));
      expect(await addIn(n)).toEqual({ sum: n + 1 });
      expect(await add(n)).toEqual({ sum: n + 1 });
    }
  }
  // What leaves other things leaves the client its statements.
  const prepared = () => pool.fetch(`select name, prepare_time from pg_prepared_statements`);
  const before = await prepared();
  expect(before).toHaveLength(1);
  await pool.query(`set application_name = 'here'`);
  await pool.query(`select 'prepare' as "a", pg_advisory_lock(1) -- discard`);
  expect(await prepared()).toEqual(before);
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('the shared lane goes by what a text does, not by what its strings and comments say', async () => {
  await using pool = open();
  const text = `select 'with hold, pg_advisory_lock(1)' as a -- create temp`;
  expect(await pool.fetchOne(text, [], { lane: 'shared' })).toEqual({ a: 'with hold, pg_advisory_lock(1)' });
  await expect(pool.query('select 1 as a into/**/temp here', [], { lane: 'shared' })).rejects.toThrow(
    /leaves nothing in its session/,
  );
});
