import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
let client: Redis;
const caches: Cache[] = [];
const clients: Redis[] = [];

function cacheOver(options: ConstructorParameters<typeof Cache>[0] = {}, prefix = 'test:'): Cache {
  // What memory hears of others is the matter of tracking.test.ts.
  const cache = new Cache({ remote: new RedisTier({ client, prefix, invalidation: 'none' }), ...options });
  caches.push(cache);
  return cache;
}

beforeAll(async () => {
  service = await startRedis();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  client = new Redis(service.url);
  clients.push(client);
  await client.flushall();
});
afterEach(async () => {
  await Promise.all(caches.splice(0).map((cache) => cache.close()));
  for (const each of clients.splice(0)) each.disconnect();
});

test('what one process loads another finds, with its expiry in Redis', async () => {
  const [a, b] = [cacheOver({ ttlMs: 60_000 }), cacheOver({ ttlMs: 60_000 })];
  expect(await a.getOrSet('k', () => ({ text: 'ünï', list: [1, null] }))).toEqual({ text: 'ünï', list: [1, null] });
  expect(await b.getOrSet('k', () => 'not loaded')).toEqual({ text: 'ünï', list: [1, null] });
  expect(b.stats()).toMatchObject({ hitsRemote: 1, misses: 0, loads: 0 });
  expect(b.peek('k')).toEqual({ text: 'ünï', list: [1, null] });
  const left = await client.pttl('test:k');
  expect(left).toBeGreaterThan(50_000);
  expect(left).toBeLessThanOrEqual(60_000);
});

test('set, get, lookup and delete reach both tiers', async () => {
  const [a, b] = [cacheOver(), cacheOver()];
  await a.set('k', null);
  expect(await b.get('k')).toBeNull();
  await a.set('k2', 7, { ttlMs: 1_000 });
  expect(await b.lookup('k2')).toMatchObject({ value: 7, tier: 'remote', stale: false });
  expect(await a.delete('k2')).toBe(true);
  expect(await a.delete('k2')).toBe(false);
  expect(await client.exists('test:k2')).toBe(0);
  await a.set('gone', 1);
  await a.set('gone', undefined);
  expect(await client.exists('test:gone')).toBe(0);
});

test('deleteByPattern uses SCAN and UNLINK only, and takes the prefix literally', async () => {
  const cache = cacheOver({}, 'p[1]*?:');
  const other = cacheOver({}, 'p1xx:');
  for (let n = 0; n < 1_200; n++) await client.set(`p[1]*?:user:${n}`, 'x');
  await cache.set('user:a', 1);
  await cache.set('team:a', 1);
  await other.set('user:a', 1);
  await client.config('RESETSTAT');
  expect(await cache.deleteByPattern('user:*')).toBe(1_201);
  const stats = await client.info('commandstats');
  expect(stats).toContain('cmdstat_scan');
  expect(stats).toContain('cmdstat_unlink');
  expect(stats).not.toContain('cmdstat_keys');
  expect(await client.exists('p[1]*?:user:a', 'p[1]*?:team:a', 'p1xx:user:a')).toBe(2);
  expect(cache.peek('user:a')).toBeUndefined();
  expect(cache.peek('team:a')).toBe(1);
});

test('clear empties what is below the prefix, and nothing else', async () => {
  const [cache, other] = [cacheOver(), cacheOver({}, 'other:')];
  await cache.set('a', 1);
  await other.set('a', 1);
  await cache.clear();
  expect(await client.keys('*')).toEqual(['other:a']);
});

test('a client with a keyPrefix of its own works alike', async () => {
  const prefixed = new Redis(service.url, { keyPrefix: 'app:' });
  clients.push(prefixed);
  const cache = cacheOver({ remote: new RedisTier({ client: prefixed, prefix: 'c:' }) });
  await cache.getOrSet('a', () => 1, { tags: ['t'] });
  await cache.set('b', 1);
  expect(await client.exists('app:c:a', 'app:c:b')).toBe(2);
  expect(await cache.deleteByPattern('b*')).toBe(1);
  expect(await client.exists('app:c:b')).toBe(0);
  await cache.deleteByTag('t');
  expect(await client.exists('app:c:a')).toBe(0);
});

test.each([
  ['text', 'hello'],
  ['a future format', `xc9V${'0'.repeat(46)}j-[1,2,[],1]`],
  ['a future encoding', `xc2V${'a'.repeat(16)}${'0'.repeat(15)}999999999999999?-[1,2,[],1]`],
  ['a cut value', `xc2V${'a'.repeat(16)}${'0'.repeat(15)}999999999999999j-[1,2,[],{"a":`],
  ['a body of another shape', `xc2V${'a'.repeat(16)}${'0'.repeat(15)}999999999999999j-{"a":1}`],
  ['hostile tags', `xc2V${'a'.repeat(16)}${'0'.repeat(15)}999999999999999j-[1,2,[{}],1]`],
  ['an unreadable time', `xc2V${'a'.repeat(16)}${'0'.repeat(15)}9999999999999zzj-[1,2,[],1]`],
  ['bytes', Buffer.from([0xff, 0xfe, 0x00, 0x80])],
  ['nothing', ''],
])('%s in Redis is a miss', async (_, bytes) => {
  const cache = cacheOver();
  await client.set('test:k', bytes);
  expect(await cache.get('k')).toBeUndefined();
  expect(await cache.getMany(['k'])).toEqual([undefined]);
  expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded');
  expect(cache.stats().remoteFailures).toBe(0);
});

test('what expire cannot make stale, since another version wrote it, it deletes', async () => {
  const cache = cacheOver();
  await client.set('test:k', `xc9V${'0'.repeat(46)}j-[1,2,[],1]`);
  await cache.expire('k');
  expect(await client.exists('test:k')).toBe(0);
});

test('how long a load took goes with the entry, and is absent where nothing was loaded', async () => {
  const clock = new ManualClock({ wallNow: Date.now() });
  const cache = cacheOver({ clock });
  const tier = new RedisTier({ client, prefix: 'test:' });
  await cache.getOrSet('k', () => clock.jump(1_234));
  expect(await tier.get('k')).toBeUndefined();
  await cache.getOrSet('k', () => {
    clock.jump(1_234);
    return 1;
  });
  expect(await tier.get('k')).toMatchObject({ value: 1, loadMs: 1_234 });
  await cache.set('set', 1);
  expect((await tier.get('set'))?.loadMs).toBeUndefined();
});

test('a key that holds a list is a miss, and no reason to leave Redis alone', async () => {
  const cache = cacheOver();
  await client.rpush('test:k', 'x');
  expect(await cache.get('k')).toBeUndefined();
  expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded');
  await cache.set('other', 1);
  expect(await client.exists('test:other')).toBe(1);
});

test('a value with an own __proto__ comes back as it was, and pollutes nothing', async () => {
  const [a, b] = [cacheOver(), cacheOver()];
  await a.set('k', JSON.parse('{"__proto__":{"polluted":true}}'));
  const value = await b.get<object>('k');
  expect(Object.keys(value ?? {})).toEqual(['__proto__']);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('what JSON would change stays out of Redis', async () => {
  const cache = cacheOver();
  await cache.set('k', 'old');
  await cache.set('k', { at: new Date(0) });
  expect(cache.peek('k')).toEqual({ at: new Date(0) });
  expect(await client.exists('test:k')).toBe(0);
  await cache.getOrSet('map', () => new Map([[1, 2]]));
  expect(await client.exists('test:map')).toBe(0);
  expect(cache.peek('map')).toEqual(new Map([[1, 2]]));
});

test('the client stays its owner’s', async () => {
  const before = client.eventNames().map((name) => [name, client.listenerCount(name)]);
  const cache = cacheOver();
  await cache.getOrSet('k', () => 1);
  await cache.close();
  expect(client.eventNames().map((name) => [name, client.listenerCount(name)])).toEqual(before);
  expect(client.status).toBe('ready');
  expect(await client.ping()).toBe('PONG');
});

test('getMany and getOrSetMany make one round trip to Redis and one load', async () => {
  const [a, b] = [cacheOver(), cacheOver()];
  await a.set('one', 1);
  await a.set('two', 2);
  expect(await b.getMany(['two', 'none', 'one', 'two'])).toEqual([2, undefined, 1, 2]);
  const asked: (readonly string[])[] = [];
  const c = cacheOver();
  const failure = new Error('no four');
  const values = await c.getOrSetMany(['one', 'three', 'four', 'three'], (keys) => {
    asked.push(keys);
    return keys.map((key) => (key === 'four' ? failure : key.length));
  });
  expect(values).toEqual([1, 5, failure, 5]);
  expect(asked).toEqual([['three', 'four']]);
  expect(await b.get('three')).toBe(5);
  expect(await b.get('four')).toBeUndefined();
});
