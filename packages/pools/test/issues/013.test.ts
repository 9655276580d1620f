import { expect, test } from 'vitest';
import { FakePostgres, refusal, welcome } from '../fake-postgres.ts';
import { ownDatabase } from '../own-database.ts';

// A connection whose answer never comes to an end was waited for without end when it was given back: it was lost to the pool.

const open = ownDatabase();

test('COPY FROM STDIN is refused, in either protocol, and costs no connection', async () => {
  await using pool = open();
  await pool.query('create table copied (a int)');
  const copy = 'copy copied from stdin';
  for (const options of [{}, { name: 'copy' }, { name: 'copy' }]) {
    await expect(pool.query(copy, [], options)).rejects.toMatchObject({ code: '57014' });
  }
  const inTransaction = pool.transaction(async (tx) => {
    await tx.query(copy, [], { name: 'copy' }).catch(() => {});
    await tx.query('select 1');
  });
  await expect(inTransaction).rejects.toMatchObject({ code: '25P02' });
  expect(await pool.fetchOne('select 1 as one', [], { timeoutMs: 2_000 })).toEqual({ one: 1 });
  expect((await pool.query('copy (select 1) to stdout')).rowCount).toBe(1);
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {}, inUse: 0 });
});

test('a server that says what is wrong and then nothing costs its connection, not the place of it', async () => {
  await using fake = await FakePostgres.start((socket, n) => {
    if (n === 0) socket.write(welcome);
    else if (n === 1) socket.write(refusal('ERROR', '42601'));
  });
  await using pool = open({ connectionString: fake.url, minSize: 0, cancelTimeoutMs: 100 });
  await expect(pool.query('select 1')).rejects.toMatchObject({ code: '42601' });
  await expect.poll(() => pool.stats(), { timeout: 5_000 }).toMatchObject({ size: 0, inUse: 0, waiting: 0 });
  expect(pool.stats().destroyed).toEqual({ broken: 1 });
});

test("pg's own query_timeout stops the query on the server too", async () => {
  await using pool = open({ connection: { query_timeout: 50 } });
  await expect(pool.query('select pg_sleep(60)')).rejects.toThrow('Query read timeout');
  expect(await pool.fetchOne('select 1 as one', [], { timeoutMs: 5_000 })).toEqual({ one: 1 });
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});

test('what pg fails to write is the error of its caller, and costs the connection it was written to', async () => {
  await using pool = open();
  const types = {
    getTypeParser: () => String,
    get length(): number {
      throw new Error('not writable');
    },
  };
  for (const lane of ['exclusive', 'shared'] as const) {
    await expect(pool.query({ text: 'select $1::int', values: [1], types }, [], { lane })).rejects.toThrow(
      'not writable',
    );
    expect(await pool.fetchOne('select 1 as one', [], { timeoutMs: 5_000, lane })).toEqual({ one: 1 });
  }
  expect(pool.stats()).toMatchObject({ created: 3, destroyed: { broken: 2 }, inUse: 0 });
});
