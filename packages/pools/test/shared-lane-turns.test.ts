import { setTimeout as later } from 'node:timers/promises';
import type { PostgresPool } from '@x/pools/postgres';
import { expect, it } from 'vitest';
import { ownDatabase } from './own-database.ts';

// The shared lane and the rest of the pool, over the same few connections.

const open = ownDatabase();
const shared = { lane: 'shared' } as const;

/** Reads of which several are always under way, so that their connection never comes to rest by itself. */
function reading(pool: PostgresPool): AsyncDisposable {
  let going = true;
  const reader = async (): Promise<void> => {
    while (going) await pool.query('select pg_sleep(0.002)', [], shared);
  };
  const readers = Array.from({ length: 40 }, reader);
  return {
    async [Symbol.asyncDispose]() {
      going = false;
      await Promise.all(readers);
    },
  };
}

it('a lane that never comes to rest lets those who wait have its connection', async () => {
  await using pool = open({ acquireTimeoutMs: 5_000 });
  await pool.start();
  await using _readers = reading(pool);
  for (let n = 0; n < 3; n++) expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
});

it('its connections are replaced when they are too old', async () => {
  await using pool = open({ maxLifetimeMs: 100 });
  await pool.start();
  await using _readers = reading(pool);
  await expect.poll(() => pool.stats().destroyed.lifetime ?? 0, { timeout: 5_000 }).toBeGreaterThan(1);
});

it('keeping a connection for long is no leak', async () => {
  await using pool = open({ leakDetectionMs: 30 });
  await pool.start();
  const leaks: unknown[] = [];
  pool.on('leak', (leak) => leaks.push(leak));
  {
    await using _readers = reading(pool);
    await later(150);
  }
  expect(leaks).toEqual([]);
});

it('a connection that is behind is joined by another one, as long as there may be one more', async () => {
  await using pool = open({ maxSize: 2, sharedStallMs: 60_000 });
  await pool.start();
  const slow = pool.query('select pg_sleep(0.5)', [], shared);
  await later(20);
  const behind = pool.query('select 1', [], shared);
  await expect.poll(() => pool.stats().size, { timeout: 400 }).toBe(2);
  await Promise.all([slow, behind]);
});

it('a connection that comes when nobody of the lane waits any more is given back', async () => {
  await using pool = open();
  const held = await pool.connect();
  const controller = new AbortController();
  const left = pool.query('select 1', [], { ...shared, signal: controller.signal }).catch((reason) => reason);
  controller.abort('gone');
  expect(await left).toBe('gone');
  // Longer than the lane looks after itself with nothing to do.
  await later(60);
  held.release();
  expect(await pool.fetchOne('select 1 as one', [], { timeoutMs: 2_000 })).toEqual({ one: 1 });
  expect(pool.stats()).toMatchObject({ inUse: 0, waiting: 0 });
});

it('a statement that ends its connection ends one more at most, by itself', async () => {
  await using pool = open({ maxSize: 4 });
  await pool.start();
  const poison = pool.query('select pg_terminate_backend(pg_backend_pid())', [], shared);
  await expect(poison).rejects.toMatchObject({ code: '57P01' });
  await expect.poll(() => pool.stats()).toMatchObject({ inUse: 0, destroyed: { broken: 2 } });
});
