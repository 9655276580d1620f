import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { expect, test } from 'vitest';
import { redisService } from '../redis-service.ts';

// What was no string stood in the way of every load of its key until somebody deleted it: each process loaded anew, again and again.

const redis = redisService();

function start() {
  const cache = new Cache({
    remote: new RedisTier({ client: redis.connect(), prefix: 'other:', invalidation: 'none' }),
  });
  redis.onEnd(() => cache.close());
  return cache;
}

test.each<[string, () => Promise<unknown>]>([
  ['a list', () => redis.outsider.lpush('other:k', 'x')],
  ['a hash', () => redis.outsider.hset('other:k', 'x', 1)],
  ['a stream', () => redis.outsider.xadd('other:k', '*', 'x', 1)],
  ['a string', () => redis.outsider.set('other:k', 'x')],
])('%s under one of our keys gives way to what is loaded', async (_, put) => {
  await put();
  expect(await start().getOrSet('k', () => 'mine', { tags: ['t'] })).toBe('mine');
  expect(await start().getOrSet('k', () => 'another')).toBe('mine');
  await start().deleteByTag('t');
  expect(await redis.outsider.exists('other:k')).toBe(0);
});
