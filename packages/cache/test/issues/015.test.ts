import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { redisService } from '../redis-service.ts';

// The clock of one process decided for all what is over: one that was ahead threw others' keys out of the index of a tag, so that
// `deleteByTag` missed them, and its `expire` expired nothing.

const redis = redisService();
const DAY_MS = 86_400_000;

/** A process whose wall clock is off by so much. */
function start(offMs = 0) {
  const clock = new ManualClock({ wallNow: Date.now() + offMs });
  const tier = new RedisTier({ client: redis.connect(), prefix: 'off:', invalidation: 'none', clock });
  const cache = new Cache({ remote: tier, clock, ttlMs: 60_000, staleIfErrorMs: 60_000 });
  redis.onEnd(() => cache.close());
  return cache;
}

const ways: [string, (cache: Cache, key: string) => Promise<unknown>][] = [
  ['set', (cache, key) => cache.set(key, 1, { tags: ['t'] })],
  ['getOrSet', (cache, key) => cache.getOrSet(key, () => 1, { tags: ['t'] })],
];

test.each(ways)('deleteByTag finds all keys, with a clock a day ahead in a process that used %s', async (_, write) => {
  await start().set('mine', 1, { tags: ['t'] });
  await write(start(DAY_MS), 'theirs');
  await start().deleteByTag('t');
  expect(await start().getMany(['mine', 'theirs'])).toEqual([undefined, undefined]);
});

test.each(ways)('deleteByTag finds all keys, with a clock a day behind in a process that used %s', async (_, write) => {
  await write(start(-DAY_MS), 'theirs');
  await start().set('mine', 1, { tags: ['t'] });
  await start().deleteByTag('t');
  expect(await redis.outsider.exists('off:mine', 'off:theirs')).toBe(0);
});

test('what a process with a clock ahead expires is stale for others', async () => {
  await start().set('k', 1);
  await start(DAY_MS).expire('k');
  expect(await start().get('k')).toBeUndefined();
  expect(await start().lookup('k')).toMatchObject({ value: 1, stale: true });
});

test('an index remembers a key for as long as its value is kept, by the clock of Redis', async () => {
  await start(DAY_MS).set('k', 1, { tags: ['t'] });
  const [seconds] = await redis.outsider.time();
  const until = Number(await redis.outsider.zscore('tag|off:t', 'k'));
  expect(Math.abs(until - (Number(seconds) * 1_000 + 120_000))).toBeLessThan(30_000);
});

test('what is stale already is not made stale anew by expire', async () => {
  const cache = start();
  await cache.set('k', 1);
  await cache.expire('k');
  const fresh = () => redis.outsider.getrange('off:k', 35, 49);
  const before = await fresh();
  await new Promise((resolve) => setTimeout(resolve, 5));
  await start().expire('k');
  expect(await fresh()).toBe(before);
});
