import { Cache, type GetOrSetOptions } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
let client: Redis;
beforeAll(async () => {
  service = await startRedis();
  client = new Redis(service.url);
});
afterAll(async () => {
  client?.disconnect();
  await service?.[Symbol.asyncDispose]();
});

const invalidations: [string, (cache: Cache) => Promise<unknown>][] = [
  ['delete', (cache) => cache.delete('user:1')],
  ['delete of many', (cache) => cache.delete(['x', 'user:1'])],
  ['expire', (cache) => cache.expire('user:1')],
  ['deleteByPattern', (cache) => cache.deleteByPattern('user:*')],
  ['deleteByTag', (cache) => cache.deleteByTag('users')],
  ['clear', (cache) => cache.clear()],
  ['set', (cache) => cache.set('user:1', 'set')],
];

/** Starts a load, and says how to end it with its value. */
async function loading(cache: Cache, value: string, options: GetOrSetOptions = { tags: ['users'] }) {
  let finish: () => void = () => {};
  let started: () => void = () => {};
  const begun = new Promise<void>((resolve) => {
    started = resolve;
  });
  const result = cache.getOrSet(
    'user:1',
    () => {
      started();
      return new Promise<string>((resolve) => {
        finish = () => resolve(value);
      });
    },
    options,
  );
  await begun;
  return { result, finish };
}

describe.each(invalidations)('%s during a load', (name, invalidate) => {
  const kept = name === 'set' ? 'set' : undefined;

  test('wins in memory: callers get the value, it is not kept, and a later caller loads anew', async () => {
    const cache = new Cache();
    const load = await loading(cache, 'old');
    await invalidate(cache);
    const later = cache.getOrSet('user:1', () => 'new');
    load.finish();
    expect(await load.result).toBe('old');
    expect(await later).toBe(kept ?? 'new');
    expect(cache.peek('user:1')).toBe(kept ?? 'new');
    const alone = await loading(new Cache(), 'old');
    alone.finish();
    expect(await alone.result).toBe('old');
  });

  test('wins in Redis, from the same process and from another', async () => {
    for (const where of ['same', 'other'] as const) {
      await client.flushall();
      const make = () => new Cache({ remote: new RedisTier({ client, prefix: 'inv:' }) });
      const [one, other] = [make(), make()];
      // What memory had before it hears of others is stale from then on.
      await Promise.all([one, other].map((cache) => new Promise((resolve) => cache.on('coherence', resolve))));
      const load = await loading(one, 'old');
      await invalidate(where === 'same' ? one : other);
      load.finish();
      expect(await load.result).toBe('old');
      expect(one.peek('user:1')).toBe(where === 'same' ? kept : undefined);
      expect(await make().get('user:1')).toBe(kept);
      expect(await other.getOrSet('user:1', () => 'new')).toBe(kept ?? 'new');
      await Promise.all([one.close(), other.close()]);
    }
  });

  test('wins over a refresh of a stale entry, in both tiers', async () => {
    await client.flushall();
    const clock = new ManualClock({ wallNow: Date.now() });
    const make = () => {
      const remote = new RedisTier({ client, prefix: 'inv:', clock });
      return new Cache({ ttlMs: 1, staleIfErrorMs: 60_000, clock, remote });
    };
    const [one, other] = [make(), make()];
    await one.set('user:1', 'first', { tags: ['users'] });
    await clock.advance(1);
    const load = await loading(one, 'old', { tags: ['users'], ttlMs: 60_000 });
    await invalidate(other);
    load.finish();
    expect(await load.result).toBe('old');
    expect(one.peek('user:1')).toBeUndefined();
    const entry = await other.lookup('user:1');
    expect(entry?.value).not.toBe('old');
    await Promise.all([one.close(), other.close()]);
  });
});

test('a read of Redis that an invalidation overtakes is not kept in memory', async () => {
  await client.flushall();
  const cache = new Cache({ remote: new RedisTier({ client, prefix: 'inv:' }) });
  await new Cache({ remote: new RedisTier({ client, prefix: 'inv:' }) }).set('k', 'old', { tags: ['t'] });
  for (const invalidate of [() => cache.delete('k'), () => cache.deleteByTag('t'), () => cache.clear()]) {
    const read = cache.get('k');
    await invalidate();
    await read;
    expect(cache.peek('k')).toBeUndefined();
  }
  await cache.close();
});

test('a load that finds in Redis what a tag just took away does not keep it, though its caller named no tag', async () => {
  await client.flushall();
  const cache = new Cache({ remote: new RedisTier({ client, prefix: 'inv:' }) });
  await new Cache({ remote: new RedisTier({ client, prefix: 'inv:' }) }).set('k', 'old', { tags: ['t'] });
  const reading = cache.getOrSet('k', () => 'new');
  await cache.deleteByTag('t');
  await reading;
  expect(cache.peek('k')).toBeUndefined();
  await cache.close();
});

test('deleteByTag finds what came from Redis, in other processes’ entries too, and forgets a tag that was taken away', async () => {
  await client.flushall();
  const make = () => new Cache({ remote: new RedisTier({ client, prefix: 'inv:', invalidation: 'none' }) });
  const [one, two] = [make(), make()];
  await one.set('a', 1, { tags: ['x', 'y'] });
  await one.set('b', 2, { tags: ['y'] });
  await one.set('c', 3);
  expect(await two.getMany(['a', 'b', 'c'])).toEqual([1, 2, 3]);
  await two.deleteByTag(['x']);
  expect(two.peek('a')).toBeUndefined();
  expect(two.peek('b')).toBe(2);
  expect(await make().getMany(['a', 'b', 'c'])).toEqual([undefined, 2, 3]);
  await two.set('b', 22);
  await two.deleteByTag('y');
  expect(two.peek('b')).toBe(22);
  await Promise.all([one.close(), two.close()]);
});

test('expire leaves the entry to its stale windows, in both tiers', async () => {
  await client.flushall();
  const make = () => new Cache({ staleIfErrorMs: 60_000, remote: new RedisTier({ client, prefix: 'inv:' }) });
  const [one, two] = [make(), make()];
  await one.set('k', 'v');
  await one.expire('k');
  expect(one.peek('k')).toBeUndefined();
  expect(await one.lookup('k')).toMatchObject({ value: 'v', stale: true, ttlMs: 0 });
  expect(await two.get('k')).toBeUndefined();
  expect(await two.lookup('k')).toMatchObject({ value: 'v', stale: true });
  expect(await two.getOrSet('k', () => Promise.reject(new Error('down')))).toBe('v');
  expect(await two.getOrSet('k', () => 'new')).toBe('new');
  expect(await one.get('k')).toBe('new');
  await Promise.all([one.close(), two.close()]);
});
