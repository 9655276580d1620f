import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { expect, test, vi } from 'vitest';
import { redisService } from '../redis-service.ts';

// A key that somebody else deleted just before this process got a lease for it stayed fresh in memory when no value followed the lease:
// what the server told of the deletion was taken for news of the lease.

const redis = redisService();

/** A process, and whether the key has been deleted by somebody else just before its lease. */
async function start(options: ConstructorParameters<typeof Cache>[0]) {
  const client = redis.connect();
  const cache = new Cache({ remote: new RedisTier({ client, prefix: 'gone:' }), ...options });
  redis.onEnd(() => cache.close());
  await new Promise((resolve) => cache.on('coherence', resolve));
  await cache.getOrSet('k', () => new Promise((resolve) => setTimeout(() => resolve('old'), 5)));
  expect(cache.peek('k')).toBe('old');
  let deleted = false;
  const call = client.call.bind(client) as (...args: unknown[]) => Promise<unknown>;
  client.call = (...args: unknown[]) => {
    if (!deleted && String(args[0]).startsWith('EVAL')) {
      deleted = true;
      // Not by the tier, which does not know of it; by this client, so that nothing comes between it and the lease.
      void call('DEL', 'gone:k');
    }
    return call(...args);
  };
  return { cache, deleted: () => deleted };
}

test('what was deleted before the lease of an early refresh that fails is not served on', async () => {
  const { cache, deleted } = await start({ ttlMs: 10_000, earlyRefresh: 100, random: () => 1 - 2 ** -53 });
  const failed = new Promise((resolve) => cache.on('loadFailure', resolve));
  const down = () => Promise.reject(new Error('down'));
  expect(await cache.getOrSet('k', down)).toBe('old');
  await failed;
  expect(deleted()).toBe(true);
  await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
});

test('what was deleted before the lease by which it should slide is not served on', async () => {
  const { cache, deleted } = await start({ ttlMs: 10_000, sliding: true });
  await vi.waitFor(
    async () => {
      await cache.get('k');
      expect(deleted()).toBe(true);
    },
    { timeout: 5_000 },
  );
  await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
});
