// Locks and settings made inside a function of the database, a trigger, a view or an operator stayed for the next borrower of the connection.
import { once } from 'node:events';
import { Socket } from 'node:net';
import { ManualClock } from '@x/testkit';
import pg from 'pg';
import Cursor from 'pg-cursor';
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();
const functionCalls = (await import(new URL('../../src/postgres/function-calls.ts', import.meta.url).href)) as {
  callsUnknownCode(bareText: string): boolean;
};
const { bareSql } = (await import(new URL('../../src/postgres/bare-sql.ts', import.meta.url).href)) as {
  bareSql(text: string): string | undefined;
};
const callsUnknownCode = (text: string): boolean => {
  const bareText = bareSql(text);
  return bareText === undefined || functionCalls.callsUnknownCode(bareText);
};
const { changesSession } = (await import(new URL('../../src/postgres/session-state.ts', import.meta.url).href)) as {
  changesSession(text: string): boolean;
};

/** What a borrower finds in the session. */
const left = `select (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
  coalesce(current_setting('app.remains', true), '') as setting`;

async function prepare(): Promise<void> {
  await using pool = open();
  await pool.query(`
    create or replace function leave_behind(a int default 1) returns int language plpgsql as
      $$ begin perform pg_advisory_lock(a), set_config('app.remains', 'here', false); return a; end $$;
    create or replace procedure leave_by_procedure() language sql as 'select leave_behind()';
    create table if not exists left_at (at int default leave_behind(), word text);
    create or replace view left_in_view as select leave_behind() as at;
    create or replace function leave_in_trigger() returns trigger language plpgsql as
      $$ begin perform leave_behind(); return new; end $$;
    create table if not exists triggering (id int);
    create or replace trigger leaving before insert on triggering execute function leave_in_trigger();
  `);
}

/** A socket that counts how often the server has begun to reset a session. */
function countingSocket(): { stream: () => Socket; resets(): number } {
  let resets = 0;
  const stream = (): Socket =>
    new Socket().on('data', (data: Buffer) => {
      if (data.includes('UNLISTEN')) resets++;
    });
  return { stream, resets: () => resets };
}

test('what a text calls that is not known to be harmless is undone before the connection is lent again', async () => {
  await prepare();
  await using pool = open();
  const texts = [
    'select leave_behind()',
    'select public.leave_behind(1)',
    'select "leave_behind" (2)',
    'select LEAVE_BEHIND /* why (not) */ -- a line\n (3)',
    'select * from leave_behind() as f(a)',
    `insert into left_at (word) select 'a' from leave_behind()`,
    'select leave_behind(), 1 / 0',
    'call leave_by_procedure()',
    'do $$ begin perform leave_behind(); end $$',
    'prepare leaving as select leave_behind(); execute leaving',
    'execute leaving',
    `set app.remains = 'here'; commit; select 1 / 0`,
  ];
  const ways = {
    query: (text: string) => pool.query(text),
    transaction: (text: string) => pool.transaction((tx) => tx.query(text)),
    connect: async (text: string) => {
      using client = await pool.connect();
      await client.query(text);
    },
  };
  for (const [way, run] of Object.entries(ways)) {
    for (const text of texts) {
      if (way !== 'query' && text.startsWith('set')) continue;
      await run(text).catch(() => {});
      expect(await pool.fetchOne(left), `${way}: ${text}`).toEqual({ locks: 0, setting: '' });
    }
  }
  for (const text of ['select leave_behind()', new pg.Query('select leave_behind()')]) {
    const client = await pool.connect();
    const cursor = client.query(typeof text === 'string' ? new Cursor(text) : text);
    if (cursor instanceof Cursor) {
      await cursor.read(10);
      await cursor.close();
    } else await once(cursor, 'end');
    client.release();
    expect(await pool.fetchOne(left), 'a cursor').toEqual({ locks: 0, setting: '' });
  }
  // Of the shared lane the connection goes back when nothing is under way on it.
  await pool.query('select leave_behind()', [], { lane: 'shared' });
  expect(await pool.fetchOne(left)).toEqual({ locks: 0, setting: '' });
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('what no text shows is undone within a second, when the connection comes back or as it is idle', async () => {
  await prepare();
  const clock = new ManualClock();
  await using pool = open({ clock });
  const ways = [
    'insert into left_at default values',
    'select * from left_in_view',
    'insert into triggering values (1)',
  ];
  for (const text of ways) {
    await pool.query(text);
    expect(await pool.fetchOne(left), text).toEqual({ locks: 1, setting: 'here' });
    await clock.advance(999);
    expect(pool.stats()).toMatchObject({ idle: 1 });
    await clock.advance(1);
    await expect.poll(() => pool.stats()).toMatchObject({ idle: 1 });
    expect(await pool.fetchOne(left), text).toEqual({ locks: 0, setting: '' });
    // Not a timer, but the next return of a connection that is lent again and again.
    await pool.withConnection(async () => {});
    await pool.query(text);
    await pool.transaction(async (tx) => {
      await tx.query('select 1');
      await clock.advance(1_000);
    });
    expect(await pool.fetchOne(left), text).toEqual({ locks: 0, setting: '' });
  }
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('a connection without work is reset once, and one that is used at most once a second', async () => {
  const clock = new ManualClock();
  const counted = countingSocket();
  await using pool = open({ clock, connection: { stream: counted.stream } });
  for (let n = 0; n < 50; n++) await pool.query('select $1::int', [n], { name: n % 2 ? 'odd' : undefined });
  expect(counted.resets()).toBe(0);
  for (let second = 0; second < 5; second++) {
    await clock.advance(1_000);
    await expect.poll(() => pool.stats()).toMatchObject({ idle: 1 });
  }
  expect(counted.resets()).toBe(1);
  for (let n = 0; n < 50; n++) {
    await pool.query('select 1');
    await clock.advance(100);
  }
  await expect.poll(() => pool.stats()).toMatchObject({ idle: 1 });
  expect(counted.resets()).toBeGreaterThanOrEqual(5);
  expect(counted.resets()).toBeLessThanOrEqual(7);
});

test('idle connections are reset one after the other, and nobody who comes meanwhile is refused or has another one opened', async () => {
  const clock = new ManualClock();
  await using pool = open({ clock, minSize: 3, maxSize: 5, maxWaiting: 0 });
  await pool.start();
  const three = () => Promise.all([1, 2, 3].map(() => pool.query('select pg_sleep(0.01)')));
  for (let n = 0; n < 20; n++) {
    await three();
    await expect.poll(() => pool.stats()).toMatchObject({ idle: 3 });
    await clock.advance(n % 2 ? 500 : 1_000);
    expect(pool.stats().idle).toBeGreaterThanOrEqual(2);
  }
  expect(pool.stats()).toMatchObject({ created: 3, destroyed: {}, acquireTimeouts: 0 });
});

test('nobody is refused for a connection that is only being reset', async () => {
  await prepare();
  await using pool = open({ maxWaiting: 0 });
  for (let n = 0; n < 20; n++) expect(await pool.fetchOne('select leave_behind() as one')).toEqual({ one: 1 });
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('a server that cannot reset a session is not asked to again and again, and keeps its connections', async () => {
  await using owner = open();
  await owner.query(`create role limited login password 'limited'`);
  await owner.query('revoke execute on function pg_advisory_unlock_all() from public');
  const clock = new ManualClock();
  const counted = countingSocket();
  try {
    await using pool = open({ clock, connection: { user: 'limited', password: 'limited', stream: counted.stream } });
    for (let second = 0; second < 5; second++) {
      await pool.query('select 1');
      await clock.advance(1_000);
      await expect.poll(() => pool.stats()).toMatchObject({ idle: 1 });
    }
    expect(counted.resets()).toBe(1);
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
  } finally {
    await owner.query('grant execute on function pg_advisory_unlock_all() to public; drop role limited');
  }
});

test('common statements are known to leave nothing', () => {
  const texts = [
    'insert into users (name, email) values ($1, $2) on conflict (email) do update set (name) = row($1) returning (id)',
    'insert into "app"."users" ("name") values (lower($1)), (default)',
    'with recursive tree(id, parent) as (select (1), null union all select t.id, (t.parent) from t) select count(*) from tree',
    'select * from unnest($1::int[], $2::text[]) with ordinality as t(a, b, n) where a in (1, 2) and not (b = any($3))',
    'select u.id, coalesce(sum(o.total), 0)::numeric(10, 2) as total, row_number() over (partition by u.id order by (o.at)) from users u left join lateral (select * from orders limit (5)) o on (true) group by (u.id) having count(*) filter (where o.paid) > 1',
    `select pg_catalog.count(*), extract(epoch from now()), json_build_object('a', jsonb_agg(x)) from t as x (a)`,
    'select pg_advisory_xact_lock($1), pg_try_advisory_xact_lock(2)',
    'update t set at = clock_timestamp() where exists (select) and id = (select max(id) from t) -- done',
    'create table if not exists "app".users (id int generated always as identity primary key, name varchar(20))',
    'create table users (id int)',
    'select/* f(1) */count/* of all */(*)-- f(1)\nfrom t where word <> \'call f(1) ""\' and "f (1)" is null',
    'select st_distance(a, b), similarity(a, $1) from places order by (a <-> $2)',
    '',
  ];
  for (const text of texts) expect(callsUnknownCode(text), text).toBe(false);
});

test('nothing else is', () => {
  const texts = [
    'select f(1)',
    'select f\n\n(1)',
    'select app.count(*)',
    'select "Count"(1)',
    'select pg_advisory_lock(1)',
    `select set_config('a', 'b', false)`,
    'select setseed(0.5)',
    'select größe(1)',
    'select f--\n--(\n(1)',
    'select f/**//***/(1)',
    `select '"', f(1), '"'`,
    `select ')', $$ ' $$, f(1)`,
    'select a into\nf(1)',
    'CALL p',
    'Do $$ $$',
    'EXECUTE q',
    `select now(), ${'a'.repeat(20_000)}`,
    'select"f"(1)',
    `select 'count/*', f(1), '*/('`,
    `select 'count--', f(1), '\n('`,
    `select 'into "', f(1), '" ('`,
    `select "a""/*", f(1), "*/"`,
    'select count /* /* ( */ f */ (f(1))',
    'select f /* /* ( */ ) */ (1)',
    'select U&"!0066" uescape \'!\' (1)',
    `select E'\\'', f(1), E'\\''`,
    `select $a$'$a$, f(1), $a$'$a$`,
    `select $$'$$, f(1), $$'$$`,
    `select '', f(1), ''`,
  ];
  for (const text of texts) expect(callsUnknownCode(text), text).toBe(true);
});

test('the search takes no time, whatever it is given', () => {
  const pieces = [
    'a',
    '"',
    '""',
    '--',
    '-- \n',
    '/*',
    '/**/',
    '/* */',
    '*/',
    ' ',
    '\n',
    '.',
    'a.',
    'a . ',
    '. ',
    '." ',
    '"a".',
    'into ',
    'a(',
    '(',
    '$',
    '$a',
    "'",
    "''",
    '/',
    '*',
    '-',
    'u&"',
  ];
  for (const first of pieces) {
    for (const second of pieces) {
      const text = `select ${first}${second.repeat(19_000 / second.length)}`;
      const start = process.cpuUsage();
      callsUnknownCode(text);
      const { user, system } = process.cpuUsage(start);
      expect(user + system, JSON.stringify([first, second])).toBeLessThan(100_000);
    }
  }
});

test('a text is known again, and as many as come', () => {
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 1_500; n++) {
      expect(changesSession(`select ${n}`)).toBe(false);
      expect(changesSession(`select f(${n})`)).toBe(true);
    }
  }
});
