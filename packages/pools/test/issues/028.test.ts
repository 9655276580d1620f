// insertMany with `returning` gave fewer rows than came in where a trigger had dropped some, and an error of MERGE for a table with rules.
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();
const rows = Array.from({ length: 12_000 }, (_, n) => [n]);

/** In the same order, doubled by the table's trigger or rule. */
const doubled = rows.map(([n]) => ({ n, twice: (n ?? 0) * 2 }));
const kinds = {
  'a table with a BEFORE trigger': (when: string) => `
    create table target (n int, twice int);
    create trigger t before insert on target for each row execute function ${when}()`,
  'a partitioned table with one': (when: string) => `
    create table target (n int, twice int) partition by range (n);
    create table low partition of target for values from (minvalue) to (6000);
    create table high partition of target for values from (6000) to (maxvalue);
    create trigger t before insert on target for each row execute function ${when}()`,
  'a view with an INSTEAD OF trigger': (when: string) => `
    create table kept (n int, twice int);
    create view target as select * from kept;
    create trigger t instead of insert on target for each row execute function ${when}();
    create trigger k instead of delete on target for each row execute function ${when}()`,
};

test.each(Object.entries(kinds))('%s: rows come back in their order, or not at all', async (_kind, create) => {
  await using pool = open();
  await pool.query(`drop schema public cascade; create schema public;
    create function doubling() returns trigger language plpgsql as $$ begin new.twice = new.n * 2;
      if tg_op = 'INSERT' and tg_when = 'INSTEAD OF' then insert into kept values (new.*); end if; return new; end $$;
    create function dropping() returns trigger language plpgsql as $$ begin new.twice = new.n * 2;
      if new.n = 7000 then return null; end if;
      if tg_when = 'INSTEAD OF' then insert into kept values (new.*); end if; return new; end $$`);
  for (const when of ['doubling', 'dropping']) {
    await pool.query('drop table if exists target, kept cascade').catch(() => pool.query('drop view if exists target'));
    await pool.query('drop table if exists kept cascade');
    await pool.query(create(when));
    const given = pool.insertMany('target', ['n'], rows, { returning: ['n', 'twice'] });
    if (when === 'doubling') expect(await given).toEqual(doubled);
    else {
      await expect(given).rejects.toMatchObject({
        code: 'ERR_ROWS_MISSING',
        message: expect.stringContaining('5000 rows were given and 4999 came back'),
      });
      // The first chunk as well is undone.
      expect(await pool.fetchOne('select count(*)::int from target')).toEqual({ count: 0 });
      expect(await pool.insertMany('target', ['n'], rows)).toBe(11_999);
    }
  }
});

test('a table with rules is inserted into, and where a rule does something else that is told', async () => {
  await using pool = open();
  await pool.query(`drop schema public cascade; create schema public; create table target (n int, twice int generated always as (n * 2) stored);
    create table noted (n int); create rule note as on insert to target do also insert into noted values (new.n)`);
  expect(await pool.insertMany('target', ['n'], rows, { returning: '*' })).toEqual(doubled);
  expect(await pool.fetchOne('select count(*)::int from noted')).toEqual({ count: rows.length });
  await pool.query('create rule nothing as on insert to target where new.n = 5 do instead nothing');
  await expect(pool.insertMany('target', ['n'], rows, { returning: ['n'] })).rejects.toMatchObject({
    code: expect.stringMatching(/^(ERR_ROWS_MISSING|0A000)$/),
  });
  expect(await pool.fetchOne('select count(*)::int from target')).toEqual({ count: rows.length });
});
