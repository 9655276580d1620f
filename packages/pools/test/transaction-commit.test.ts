import { PostgresPool } from '@x/pools/postgres';
import { expect, it } from 'vitest';
import { FakePostgres, message, refusal, welcome } from './fake-postgres.ts';
import { ownDatabase } from './own-database.ts';

const open = ownDatabase();
const begun = Buffer.concat([message('C', 'BEGIN\0'), message('Z', 'T')]);

/** A server that answers BEGIN, and then what the test wants instead of the end of the transaction. */
const before = (end: (socket: Parameters<Parameters<typeof FakePostgres.start>[0]>[0]) => void) =>
  FakePostgres.start((socket, n) => {
    if (n === 0) socket.write(welcome);
    else if (n === 1) socket.write(begun);
    else end(socket);
  });

it('a COMMIT that is not answered may have been done, and its caller is told so', async () => {
  const ends: [string, string | undefined, Parameters<typeof before>[0]][] = [
    ['reset', 'ERR_CONNECTION_LOST', (socket) => void socket.resetAndDestroy()],
    ['hung up', 'ERR_CONNECTION_LOST', (socket) => void socket.end()],
    ['shut down', '57P01', (socket) => void socket.end(refusal('FATAL', '57P01'))],
    ['silent', 'ERR_TIMEOUT', () => {}],
  ];
  for (const [what, cause, end] of ends) {
    await using fake = await before(end);
    await using pool = new PostgresPool({
      connectionString: fake.url,
      minSize: 0,
      commandTimeoutMs: 200,
      cancelTimeoutMs: 50,
    });
    const outcome = await pool.transaction(async () => 'done').catch((error) => error);
    expect(outcome, what).toMatchObject({ code: 'ERR_COMMIT_UNKNOWN', sqlState: '08007', cause: { code: cause } });
  }
});

it('a COMMIT that the server refuses has not been done, and says why', async () => {
  await using pool = open();
  await pool.query('create table referred (a int primary key); create table referring (a int)');
  await pool.query('alter table referring add foreign key (a) references referred (a) deferrable initially deferred');
  const deferred = pool.transaction((tx) => tx.query('insert into referring values (1)'));
  await expect(deferred).rejects.toMatchObject({ code: '23503' });
  expect(await pool.fetch('select * from referring')).toEqual([]);
  expect(pool.stats()).toMatchObject({ created: 1, inUse: 0 });
});

it('what broke before COMMIT was sent was not committed, and is not in doubt', async () => {
  await using pool = open();
  const broken = pool.transaction(async (tx) => {
    await tx.query('select pg_terminate_backend(pg_backend_pid())').catch(() => {});
  });
  await expect(broken).rejects.toMatchObject({ code: '57P01' });
});
