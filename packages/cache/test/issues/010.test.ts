import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { expect, test, vi } from 'vitest';
import { redisService } from '../redis-service.ts';

// What was loaded or set while Redis did not answer stayed in memory for all its time to live, though the invalidation connection was well.
// Redis never had it, so that it told nothing of somebody's DEL.

const redis = redisService();

/** A cache whose data connection fails while `failing` says so, and hears all the same. */
async function start(maxLagMs: number) {
  const client = redis.connect();
  let failing: (args: readonly unknown[]) => boolean = () => false;
  const call = client.call.bind(client) as (...args: unknown[]) => Promise<unknown>;
  client.call = (...args: unknown[]) => (failing(args) ? Promise.reject(new Error('not now')) : call(...args));
  const tier = new RedisTier({ client, prefix: 'told:', maxLagMs, retryAfterMs: 20 });
  const cache = new Cache({ remote: tier, ttlMs: 3_600_000 });
  redis.onEnd(() => cache.close());
  await new Promise((resolve) => cache.on('coherence', resolve));
  const states: string[] = [];
  cache.on('coherence', ({ state }) => states.push(state));
  const fail = (when: typeof failing) => {
    failing = when;
  };
  return { cache, tier, fail, states };
}

const gone = (cache: Cache) => vi.waitFor(() => expect(cache.peek('k')).toBeUndefined(), { timeout: 8_000 });

test('what was loaded while Redis did not answer is believed for maxLagMs', async () => {
  const { cache, fail, states } = await start(400);
  fail((args) => String(args[0]).startsWith('EVAL'));
  expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded');
  expect(cache.peek('k')).toBe('loaded');
  fail(() => false);
  await redis.outsider.del('told:k');
  await gone(cache);
  await vi.waitFor(async () => expect(await cache.getOrSet('k', () => 'new')).toBe('new'));
  expect(states).toEqual([]);
});

test('what was loaded under a lease, but could not be stored, goes with the lease', async () => {
  const { cache, fail, states } = await start(60_000);
  fail((args) => args.some((arg) => String(arg).includes('loaded')));
  expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded');
  expect(cache.peek('k')).toBe('loaded');
  fail(() => false);
  await redis.outsider.del('told:k');
  await gone(cache);
  expect(states).toEqual([]);
});

test('what was set while Redis did not answer is in memory until that has been made up for', async () => {
  const { cache, tier, fail, states } = await start(60_000);
  fail((args) => args.some((arg) => String(arg).includes('our value')));
  await cache.set('k', 'our value');
  expect(cache.peek('k')).toBe('our value');
  fail(() => false);
  await vi.waitFor(() => expect(tier.stats().owed).toBe(0));
  await gone(cache);
  expect(states).toEqual([]);
});

test('what Redis has stays in memory for longer than maxLagMs', async () => {
  const { cache } = await start(100);
  await cache.getOrSet('k', () => 'loaded');
  await cache.set('set', 1);
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect([cache.peek('k'), cache.peek('set')]).toEqual(['loaded', 1]);
});
