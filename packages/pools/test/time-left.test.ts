import { type AddressInfo, createServer } from 'node:net';
import { PostgresPool } from '@x/pools/postgres';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';
import { FakePostgres, welcome } from './fake-postgres.ts';

it('a query that is run once more has what is left of its time', async () => {
  let asked = 0;
  await using fake = await FakePostgres.start((socket, n) => {
    if (n === 0) socket.write(welcome);
    else asked++;
  });
  const clock = new ManualClock();
  const pool = new PostgresPool({ connectionString: fake.url, clock, minSize: 0 });
  const started = clock.now();
  let outcome: unknown;
  void pool
    .query('select 1', [], { idempotent: true, timeoutMs: 400 })
    .catch((error) => error)
    .then((error) => {
      outcome = error;
    });
  await expect.poll(() => asked).toBe(1);
  await clock.advance(150);
  for (const socket of fake.sockets) socket.resetAndDestroy();
  // The refill waits a moment too.
  await expect
    .poll(async () => {
      await clock.advance(1);
      return asked;
    })
    .toBe(2);
  const left = 400 + started - clock.now();
  await clock.advance(left - 1);
  expect(outcome).toBeUndefined();
  await clock.advance(1);
  expect(outcome).toMatchObject({ code: 'ERR_TIMEOUT' });
  for (const socket of fake.sockets) socket.destroy();
  await expect.poll(() => pool.stats().size).toBe(0);
  await pool.close();
});

it('a read that falls back from its replica has what is left of its time', async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  let asked = 0;
  await using fake = await FakePostgres.start((socket, n) => {
    if (n === 0) socket.write(welcome);
    else asked++;
  });
  const clock = new ManualClock();
  const pool = new PostgresPool({
    connectionString: fake.url,
    clock,
    minSize: 0,
    replica: {
      connectionString: `postgres://user:secret@127.0.0.1:${(silent.address() as AddressInfo).port}/db`,
      minSize: 0,
      connectTimeoutMs: 150,
    },
  });
  let outcome: unknown;
  void pool
    .query('select 1', [], { from: 'replica', timeoutMs: 400 })
    .catch((error) => error)
    .then((error) => {
      outcome = error;
    });
  await clock.advance(150);
  await expect.poll(() => asked).toBe(1);
  await clock.advance(249);
  expect(outcome).toBeUndefined();
  await clock.advance(1);
  expect(outcome).toMatchObject({ code: 'ERR_TIMEOUT' });
  for (const socket of fake.sockets) socket.destroy();
  await expect.poll(() => pool.stats().size).toBe(0);
  await pool.close();
  silent.close();
});
