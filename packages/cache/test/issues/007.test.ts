import { Cache, type CacheEvents } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';

test('a misspelt event is refused, not never told of', () => {
  for (const name of ['hits', '', undefined, 'toString', '__proto__']) {
    expect(() => new Cache().on(name as keyof CacheEvents, () => {})).toThrow(TypeError);
  }
  expect(() => new Cache().on('hits' as 'hit', () => {})).toThrow(/@x\/cache: event must be one of 'hit', 'miss'/);
});

// What stands in Redis said that its load had taken years, so that each read drew a refresh.
test('a load time in Redis that is longer than the entry lives does not have it refreshed at every read', async () => {
  await using service = await startRedis();
  const client = new Redis(service.url);
  const clock = new ManualClock();
  const cache = new Cache({
    remote: new RedisTier({ client, prefix: 'issue7:', invalidation: 'none' }),
    ttlMs: 60_000,
    earlyRefresh: true,
    clock,
    random: () => 0.9,
  });
  const storedAt = clock.wallNow();
  const freshUntil = String(storedAt + 60_000).padStart(15, '0');
  const head = `xc2V${'v'.repeat(16)}${'0'.repeat(15)}${freshUntil}j-`;
  await client.set('issue7:k', `${head}${JSON.stringify([storedAt, 1e15, [], 'kept'])}`);
  let loads = 0;
  for (let read = 0; read < 5; read++) expect(await cache.getOrSet('k', () => ++loads)).toBe('kept');
  expect(cache.stats()).toMatchObject({ loads: 0, hitsRemote: 1, hitsMemory: 4 });
  await cache.close();
  client.disconnect();
});
