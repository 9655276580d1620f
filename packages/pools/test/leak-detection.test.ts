import { type PostgresService, startPostgres } from '@x/local-services';
import { type Leak, PostgresPool } from '@x/pools/postgres';
import { ManualClock } from '@x/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';

let server: PostgresService;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server?.[Symbol.asyncDispose]());

it('tells of a connection that is out for long, once, with the place where it was taken', async () => {
  const clock = new ManualClock();
  const leaks: Leak[] = [];
  await using pool = new PostgresPool({ connectionString: server.url, minSize: 0, clock, leakDetectionMs: 1_000 });
  pool.on('leak', () => {
    throw new Error('a listener that fails');
  });
  const unsubscribe = pool.on('leak', (leak) => leaks.push(leak));
  async function borrowerThatForgets() {
    return pool.connect();
  }
  // The first waits until the connection is made, the second finds it idle.
  for (const round of [1, 2]) {
    const client = await borrowerThatForgets();
    await clock.advance(999);
    expect(leaks).toHaveLength(round - 1);
    await clock.advance(1);
    expect(leaks).toHaveLength(round);
    expect(leaks.at(-1)).toEqual({ heldMs: 1_000, stack: expect.stringContaining('borrowerThatForgets') });
    await clock.advance(10_000);
    expect(leaks).toHaveLength(round);
    client.release();
  }
  await pool.query('select 1');
  await clock.advance(10_000);
  expect(leaks).toHaveLength(2);
  unsubscribe();
  const client = await borrowerThatForgets();
  await clock.advance(10_000);
  expect(leaks).toHaveLength(2);
  client.release();
  expect(() => pool.on('other' as 'leak', () => {})).toThrow(TypeError);
});

it('says in the error of an exhausted pool where the connection that is out for longest was taken', async () => {
  const clock = new ManualClock();
  const pool = new PostgresPool({
    connectionString: server.url,
    minSize: 0,
    maxSize: 2,
    clock,
    leakDetectionMs: 60_000,
    acquireTimeoutMs: 100,
  });
  async function longest() {
    return pool.connect();
  }
  const returned = await pool.connect();
  await longest();
  returned.release();
  await pool.connect();
  const refused = expect(pool.query('select 1')).rejects.toMatchObject({
    code: 'ERR_POOL_EXHAUSTED',
    message: expect.not.stringContaining('at longest'),
    cause: { stack: expect.stringMatching(/at (async )?longest/) },
  });
  await clock.advance(100);
  await refused;
  const closing = pool.close({ timeoutMs: 0 });
  await clock.advance(0);
  await closing;
  expect(clock.pendingTimers).toBe(0);
});

it('is off by default, and costs no timer then', async () => {
  const clock = new ManualClock();
  await using pool = new PostgresPool({ connectionString: server.url, minSize: 0, clock });
  let told = 0;
  pool.on('leak', () => told++);
  const client = await pool.connect();
  expect(clock.pendingTimers).toBe(0);
  await clock.advance(10_000_000);
  client.release();
  expect(told).toBe(0);
});
