// Names of prepared statements that are equal in their first 63 bytes, which is all that the server keeps, were one to it: 42P05. So were a
// long name and the one that takes its place when it is given up.
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('each name is a statement of its own, however long', async () => {
  await using pool = open();
  const names = [61, 62, 63, 64, 65].map((length) => 'n'.repeat(length));
  for (const name of ['n'.repeat(64), 'ü'.repeat(31), 'ü'.repeat(32), '🐘'.repeat(30)])
    names.push(`${name}a`, `${name}b`);
  for (let round = 0; round < 2; round++) {
    for (const [n, name] of names.entries()) {
      expect(await pool.fetchOne(`select ${n} as n`, [], { name })).toEqual({ n });
    }
  }
  const prepared = await pool.fetch<{ name: string }>(`select name from pg_prepared_statements`);
  expect(prepared).toHaveLength(names.length);
  // One that the server takes as it is can be found there.
  for (const name of names) if (Buffer.byteLength(name) <= 63) expect(prepared).toContainEqual({ name });
});

test('a long name that is given up has another in its place', async () => {
  await using pool = open();
  await pool.query('create table growing (a int)');
  for (const length of [59, 60, 63, 64, 100]) {
    const statement = () => pool.query('select * from growing', [], { name: 'g'.repeat(length) });
    const { fields } = await statement();
    await pool.query(`alter table growing add column at_${length} int`);
    expect((await statement()).fields).toHaveLength(fields.length + 1);
    await pool.query('deallocate all');
    expect((await statement()).fields).toHaveLength(fields.length + 1);
  }
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});
