// A table or view in `pg_temp` stayed for the next borrower, and a function whose name and arguments a comment that ends in a carriage return
// stands between was not seen.
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('what is made in the schema of temporary things is undone before the connection is lent again', async () => {
  await using pool = open();
  await pool.query(
    `create function lock_here(a int) returns int language sql as 'select pg_advisory_lock(a); select a'`,
  );
  const texts = [
    'create table pg_temp.here (a int)',
    'create table if not exists pg_temp . here as select 1',
    'create view "pg_temp".here as select 1',
    'select 1 as a into PG_TEMP.here',
    'select lock_here -- with a line end of old\r (1)',
  ];
  for (const text of texts) {
    await pool.query(text);
    const left = `select (select count(*)::int from pg_class where relnamespace = pg_my_temp_schema()) as relations,
      (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`;
    expect(await pool.fetchOne(left), text).toEqual({ relations: 0, locks: 0 });
  }
  // To look for it is another thing.
  const found = await pool.fetch(`select 1 from pg_namespace where nspname = 'pg_temp'`, [], { lane: 'shared' });
  expect(found).toEqual([]);
});
