import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import type { Redis as Redis5, RedisOptions } from 'ioredis';
import { describe, expect, test, vi } from 'vitest';
import { RELEASES } from './clients.ts';
import { redisService } from './redis-service.ts';

const redis = redisService();

async function evicting(maxmemory: string, policy: string): Promise<void> {
  await redis.outsider.config('SET', 'maxmemory', maxmemory, 'maxmemory-policy', policy);
}

/** A cache, by what its deletions are worse than was asked for, and how often it has asked what the server evicts. */
function start(Redis?: typeof Redis5, options?: RedisOptions, url?: string) {
  const client = redis.connect(options, Redis, url);
  let asked = 0;
  const call = client.call.bind(client) as (...args: unknown[]) => Promise<unknown>;
  client.call = (...args: unknown[]) => {
    if (args[0] === 'INFO') asked++;
    return call(...args);
  };
  const cache = new Cache({ remote: new RedisTier({ client, prefix: 'evicting:' }) });
  redis.onEnd(() => cache.close());
  const degraded: string[] = [];
  cache.on('invalidationDegraded', ({ to, error }) => degraded.push(`${to}: ${(error as Error).message}`));
  return { cache, client, degraded, asked: () => asked };
}

const NOTICE = 'evictable: @x/cache: deleteByTag may miss values, since Redis may evict the index of a tag';

describe.each(RELEASES)('with $release', ({ Redis }) => {
  test.each(['allkeys-lru', 'volatile-ttl'])(
    'that a server evicts by %s is told once, with the first tag',
    async (policy) => {
      await evicting('100mb', policy);
      const { cache, degraded, asked } = start(Redis);
      await cache.set('untagged', 1);
      await cache.getOrSet('untagged too', () => 1);
      await cache.delete('untagged');
      expect(asked()).toBe(0);
      for (let n = 0; n < 5; n++) {
        await cache.set(`k${n}`, 1, { tags: ['t', 'u'] });
        await cache.getOrSet(`l${n}`, () => 1, { tags: ['t'] });
      }
      await vi.waitFor(() => expect(degraded).toEqual([`${NOTICE} (${policy})`]));
      expect(asked()).toBe(1);
    },
  );
});

test.each([
  ['100mb', 'noeviction'],
  ['0', 'allkeys-lru'],
])('a server with maxmemory %s and %s evicts nothing, and nothing is told', async (maxmemory, policy) => {
  await evicting(maxmemory, policy);
  const { cache, client, degraded, asked } = start();
  await cache.set('k', 1, { tags: ['t'] });
  // Answers come in the order of the questions.
  await client.ping();
  expect(asked()).toBe(1);
  expect(degraded).toEqual([]);
});

test('a server that does not answer the question is a server like any other', async () => {
  await evicting('100mb', 'allkeys-lru');
  await redis.outsider.call('ACL', 'SETUSER', 'silent', 'reset', 'on', '>pw', '~*', '&*', '+@all', '-info');
  const url = new URL(redis.url);
  Object.assign(url, { username: 'silent', password: 'pw' });
  const { cache, degraded, asked } = start(undefined, { enableReadyCheck: false }, url.href);
  await cache.set('k', 1, { tags: ['t'] });
  await cache.deleteByTag('t');
  expect(await redis.outsider.exists('evicting:k')).toBe(0);
  expect(asked()).toBe(1);
  expect(cache.stats().remoteFailures).toBe(0);
  expect(degraded).toEqual([]);
});
