import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import { eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { type Generated, Kysely, sql as kyselySql, PostgresDialect } from 'kysely';
import pg from 'pg';
import Cursor from 'pg-cursor';
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
  await admin.query(
    `drop schema public cascade; create schema public;
     create table person (id int generated always as identity primary key, name text unique, age int)`,
  );
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(options: PostgresPoolOptions = {}): PostgresPool {
  const pool = new PostgresPool({ connectionString: url, minSize: 0, maxSize: 2, ...options });
  pools.push(pool);
  return pool;
}

const terminateAll = () =>
  admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
  );
const pidOf = async (client: { query(text: string): Promise<pg.QueryResult> }): Promise<number> =>
  (await client.query('select pg_backend_pid() as pid')).rows[0].pid;

describe('connect()', () => {
  it('lends one connection until it is released', async () => {
    const pool = open({ maxSize: 1 });
    const client = await pool.connect();
    const pid = await pidOf(client);
    expect(await pidOf(client)).toBe(pid);
    expect(pool.stats()).toMatchObject({ inUse: 1, idle: 0, acquired: 1 });
    const waiting = pool.fetchOne('select 1 as one');
    expect(pool.stats().waiting).toBe(1);
    client.release();
    expect(await waiting).toEqual({ one: 1 });
    await expect(client.query('select 1')).rejects.toMatchObject({ code: 'ERR_RELEASED' });
    {
      using another = await pool.connect();
      expect(await pidOf(another)).toBe(pid);
    }
    expect(pool.stats()).toMatchObject({ inUse: 0, created: 1 });
  });

  it('released twice gives back only its own loan', async () => {
    const pool = open({ maxSize: 1 });
    const first = await pool.connect();
    first.release();
    const second = await pool.connect();
    first.release();
    first.release(true);
    expect(pool.stats()).toMatchObject({ inUse: 1, idle: 0 });
    expect((await second.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    second.release();
    second.release();
    expect(pool.stats()).toMatchObject({ inUse: 0, idle: 1, size: 1, created: 1 });
  });

  it('released with an error or with true closes the connection', async () => {
    const pool = open({ maxSize: 1 });
    for (const destroy of [true, new Error('it looks odd')]) {
      const client = await pool.connect();
      const pid = await pidOf(client);
      client.release(destroy);
      await expect
        .poll(async () => (await admin.query('select 1 from pg_stat_activity where pid = $1', [pid])).rowCount)
        .toBe(0);
    }
    const client = await pool.connect();
    client.release(false);
    expect(pool.stats()).toMatchObject({ created: 3, size: 1, idle: 1 });
  });

  it('killed while it is out is one error at the next statement, no crash, and is not lent again', async () => {
    const pool = open({ maxSize: 1 });
    const client = await pool.connect();
    await client.query('begin');
    await terminateAll();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '57P01' });
    expect(() => client.query(new Cursor('select 1'))).toThrow(expect.objectContaining({ code: '57P01' }));
    client.release();
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
    expect(pool.stats()).toMatchObject({ created: 2, destroyed: { broken: 1 }, inUse: 0 });
  });

  it('killed in mid query rejects that query', async () => {
    const pool = open();
    const client = await pool.connect();
    const query = expect(client.query('select pg_sleep(60)')).rejects.toMatchObject({ code: '57P01' });
    await expect
      .poll(async () => (await admin.query(`select 1 from pg_stat_activity where query like '%sleep(60)'`)).rowCount)
      .toBe(1);
    await terminateAll();
    await query;
    client.release();
    await expect.poll(() => pool.stats()).toMatchObject({ size: 0, destroyed: { broken: 1 } });
  });

  it('leaves nothing to the next borrower: no transaction, and after a session no setting and no lock', async () => {
    const pool = open({ maxSize: 1 });
    const client = await pool.connect();
    await client.query('begin');
    await client.query("insert into person (name) values ('Ada')");
    client.release();
    expect(await pool.fetchOne('select count(*)::int as n from person')).toEqual({ n: 0 });
    const session = await pool.connect();
    await session.query("set search_path = 'nowhere'");
    await session.query('select pg_advisory_lock(1)');
    session.release();
    expect(
      await pool.fetchOne(
        `select current_setting('search_path') as path,
                (select count(*)::int from pg_locks where locktype = 'advisory') as locks`,
      ),
    ).toEqual({ path: '"$user", public', locks: 0 });
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
  });

  it('costs one statement no more than query(): no reset follows it, nor one transaction', async () => {
    const pool = open({ maxSize: 1 });
    const text = async () =>
      (await admin.query(`select query from pg_stat_activity where datname = current_database() and pid = $1`, [pid]))
        .rows[0]?.query;
    const client = await pool.connect();
    const pid = (await client.query('select pg_backend_pid() as pid')).rows[0]?.pid;
    client.release();
    expect(await text()).toBe('select pg_backend_pid() as pid');
    const other = await pool.connect();
    for (const statement of ['begin', 'select 1', 'commit']) await other.query(statement);
    other.release();
    expect(await text()).toBe('commit');
  });

  it('can be given up while it waits, and waits no longer than it may', async () => {
    const pool = open({ maxSize: 1, acquireTimeoutMs: 100 });
    // To make a connection may take longer than that, where others work as well.
    await pool.start();
    const client = await pool.connect();
    const controller = new AbortController();
    const given = pool.connect({ signal: controller.signal });
    controller.abort('gone');
    await expect(given).rejects.toBe('gone');
    await expect(pool.connect({ signal: controller.signal })).rejects.toBe('gone');
    await expect(pool.connect()).rejects.toMatchObject({ code: 'ERR_POOL_EXHAUSTED' });
    client.release();
    await pool.end();
    await expect(pool.connect()).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
  });

  it('takes what pg takes: an object, array rows, parsers of its own; and does not write into it', async () => {
    const pool = open();
    const statement = Object.freeze({
      text: 'select $1::int as a, now() as at',
      rowMode: 'array' as const,
      types: { getTypeParser: () => (value: string) => `<${value}>` },
    });
    const runners: Pick<PostgresPool, 'query'>[] = [pool, await pool.connect()];
    for (const runner of runners) {
      const { rows } = await runner.query(statement, [7]);
      expect(rows[0]?.[0]).toBe('<7>');
      expect((await runner.query({ text: 'select $1::int as a', values: [8] })).rows).toEqual([{ a: 8 }]);
    }
    await expect(pool.query(new Cursor('select 1') as never)).rejects.toThrow(TypeError);
  });

  it('of a client that is out when the pool closes is waited for, then it is taken', async () => {
    const pool = open();
    const client = await pool.connect();
    await pool.close({ timeoutMs: 20 });
    await expect(client.query('select 1')).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    client.release();
    expect(pool.stats()).toMatchObject({ size: 0 });
  });

  it('reads through a cursor, which ends with the loan', async () => {
    const pool = open({ maxSize: 1 });
    const client = await pool.connect();
    const cursor = client.query(new Cursor('select generate_series(1, 10) as n'));
    expect(await cursor.read(2)).toEqual([{ n: 1 }, { n: 2 }]);
    await cursor.close();
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    const left = client.query(new Cursor('select generate_series(1, 10) as n'));
    await left.read(2);
    client.release();
    // At once, and not when somebody's time-out has got rid of the cursor.
    expect(await pool.fetchOne('select 1 as one', [], { timeoutMs: 2_000 })).toEqual({ one: 1 });
    expect(pool.stats()).toMatchObject({ created: 2, inUse: 0 });
  });
});

describe('Kysely', () => {
  interface Database {
    person: { id: Generated<number>; name: string; age: number | null };
  }
  const kysely = (pool: PostgresPool) =>
    new Kysely<Database>({ dialect: new PostgresDialect({ pool, cursor: Cursor }) });

  it('queries, inserts, updates and streams', async () => {
    const pool = open();
    const db = kysely(pool);
    const { id } = await db
      .insertInto('person')
      .values({ name: 'Ada', age: 36 })
      .returning('id')
      .executeTakeFirstOrThrow();
    const updated = await db.updateTable('person').set({ age: 37 }).where('id', '=', id).executeTakeFirst();
    expect(updated.numUpdatedRows).toBe(1n);
    expect(await db.selectFrom('person').selectAll().execute()).toEqual([{ id, name: 'Ada', age: 37 }]);
    const names = Array.from({ length: 25 }, (_, n) => ({ name: `p${n}` }));
    await db.insertInto('person').values(names).execute();
    let streamed = 0;
    for await (const _row of db.selectFrom('person').selectAll().stream(10)) streamed++;
    expect(streamed).toBe(26);
    for await (const _row of db.selectFrom('person').selectAll().stream(10)) break;
    expect(pool.stats()).toMatchObject({ inUse: 0, destroyed: {} });
    await db.destroy();
    expect(pool.stats()).toMatchObject({ size: 0 });
  });

  it('commits and rolls back transactions, with savepoints and isolation', async () => {
    const pool = open();
    const db = kysely(pool);
    await db
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (tx) => {
        await tx.insertInto('person').values({ name: 'Ada' }).execute();
        const { rows } = await kyselySql<{ level: string }>`show transaction_isolation`.execute(tx);
        expect(rows[0]).toEqual({ transaction_isolation: 'serializable' });
      });
    const failure = new Error('no');
    await expect(
      db.transaction().execute(async (tx) => {
        await tx.insertInto('person').values({ name: 'Grace' }).execute();
        throw failure;
      }),
    ).rejects.toBe(failure);
    const controlled = await db.startTransaction().execute();
    await controlled.insertInto('person').values({ name: 'Edsger' }).execute();
    const saved = await controlled.savepoint('sp').execute();
    await expect(saved.insertInto('person').values({ name: 'Ada' }).execute()).rejects.toMatchObject({ code: '23505' });
    await saved.rollbackToSavepoint('sp').execute();
    await controlled.commit().execute();
    expect(await db.selectFrom('person').select('name').orderBy('id').execute()).toEqual([
      { name: 'Ada' },
      { name: 'Edsger' },
    ]);
    expect(pool.stats()).toMatchObject({ inUse: 0, destroyed: {}, waiting: 0 });
  });

  it('sees the errors of the server, keeps its connection, and survives a kill in mid transaction', async () => {
    const pool = open({ maxSize: 1 });
    const db = kysely(pool);
    for (let i = 0; i < 5; i++) {
      await expect(kyselySql`select 1/0`.execute(db)).rejects.toMatchObject({ code: '22012' });
    }
    expect(pool.stats()).toMatchObject({ created: 1, queryFailures: 5 });
    await expect(
      db.transaction().execute(async (tx) => {
        await tx.insertInto('person').values({ name: 'Ada' }).execute();
        await terminateAll();
        await tx.selectFrom('person').selectAll().execute();
      }),
    ).rejects.toMatchObject({ code: '57P01' });
    expect(await db.selectFrom('person').selectAll().execute()).toEqual([]);
    expect(pool.stats()).toMatchObject({ inUse: 0, created: 2 });
  });
});

describe('Drizzle', () => {
  const person = pgTable('person', {
    id: integer().primaryKey().generatedAlwaysAsIdentity(),
    name: text(),
    age: integer(),
  });
  const open_ = (pool: PostgresPool) => drizzle({ client: pool as unknown as pg.Pool, schema: { person } });

  it('queries, inserts, updates and prepares', async () => {
    const pool = open();
    const db = open_(pool);
    expect(await db.insert(person).values({ name: 'Ada', age: 36 }).returning()).toEqual([
      { id: 1, name: 'Ada', age: 36 },
    ]);
    await db.update(person).set({ age: 37 }).where(eq(person.name, 'Ada'));
    expect(await db.select({ age: person.age }).from(person)).toEqual([{ age: 37 }]);
    expect(await db.query.person.findFirst({ columns: { name: true } })).toEqual({ name: 'Ada' });
    expect((await db.execute(sql`select ${1}::int as n`)).rows).toEqual([{ n: 1 }]);
    const byName = db
      .select()
      .from(person)
      .where(eq(person.name, sql.placeholder('name')))
      .prepare('by_name');
    for (let i = 0; i < 3; i++) expect(await byName.execute({ name: 'Ada' })).toHaveLength(1);
    expect((await Promise.all(Array.from({ length: 20 }, () => db.select().from(person)))).flat()).toHaveLength(20);
    expect(pool.stats()).toMatchObject({ inUse: 0, destroyed: {} });
  });

  it('commits and rolls back transactions, nested ones too', async () => {
    const pool = open();
    const db = open_(pool);
    await db.transaction(
      async (tx) => {
        await tx.insert(person).values({ name: 'Ada' });
        await tx
          .transaction(async (inner) => {
            await inner.insert(person).values({ name: 'Grace' });
            inner.rollback();
          })
          .catch(() => {});
      },
      { isolationLevel: 'serializable' },
    );
    await expect(
      db.transaction(async (tx) => {
        await tx.insert(person).values({ name: 'Edsger' });
        await tx.insert(person).values({ name: 'Ada' });
      }),
    ).rejects.toMatchObject({ cause: { code: '23505' } });
    expect(await db.select({ name: person.name }).from(person)).toEqual([{ name: 'Ada' }]);
    expect(pool.stats()).toMatchObject({ inUse: 0, destroyed: {}, waiting: 0 });
  });

  it('survives a kill in mid transaction', async () => {
    const pool = open({ maxSize: 1 });
    const db = open_(pool);
    const error: unknown = await db
      .transaction(async (tx) => {
        await tx.insert(person).values({ name: 'Ada' });
        await terminateAll();
        await tx.select().from(person);
      })
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ cause: { code: '57P01' } });
    expect(await db.select().from(person)).toEqual([]);
    expect(pool.stats()).toMatchObject({ inUse: 0, created: 2 });
  });
});
