import { Cache, stableKey } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { describe, expect, test } from 'vitest';
import { RELEASES } from '../clients.ts';
import { redisService } from '../redis-service.ts';

// An array's items were read, not looked at: a getter among them gave the key one value, and the function another.

const withGetter = Object.defineProperty([1, 2], 1, { get: () => Math.random(), enumerable: true });

test('an array with a getter makes no key', () => {
  expect(() => stableKey(withGetter)).toThrow(/\$\[1\] is a getter or a setter/);
  expect(() => stableKey({ list: [withGetter] })).toThrow(/\$\.list\[0\]\[1\] is a getter or a setter/);
  const withSetter = Object.defineProperty([1], 0, { set: () => {}, enumerable: true });
  expect(() => stableKey(withSetter)).toThrow(TypeError);
});

// Without its prototype, a class with a state that no property tells of passed for an empty object.

test.each([
  ['Date', new Date(0)],
  ['Map', new Map([[1, 2]])],
  ['Set', new Set([1])],
  ['RegExp', /x/],
  ['Promise', Promise.resolve(1)],
  ['Number', Object(3)],
  ['ArrayBuffer', new ArrayBuffer(1)],
  ['Uint8Array', new Uint8Array(2)],
])('a %s that says it is a plain object makes no key', (_, value) => {
  for (const prototype of [Object.prototype, null]) {
    const disguised = Object.setPrototypeOf(value, prototype);
    expect(() => stableKey({ a: disguised })).toThrow(/\$\.a is /);
  }
});

// Options of the client that its owner may set turned leases off, or everything.

const redis = redisService();

describe.each(RELEASES)('with $release', ({ Redis, Cluster }) => {
  test('a client that gives numbers as text works as any other', async () => {
    const client = redis.connect({ stringNumbers: true }, Redis);
    const caches = [1, 2, 3].map(
      () => new Cache({ remote: new RedisTier({ client, prefix: 'text:', invalidation: 'none' }), ttlMs: 60_000 }),
    );
    let loads = 0;
    let finish: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const load = () => gate.then(() => ++loads);
    const loading = caches.map((cache) => cache.getOrSet('k', load, { tags: ['t'] }));
    while (Number(await client.exists('text:k')) === 0);
    finish();
    expect(await Promise.all(loading)).toEqual([1, 1, 1]);
    await caches[0]?.set('set', 'v');
    expect(await caches[1]?.get('set')).toBe('v');
    expect(await caches[1]?.deleteByPattern('*')).toBe(2);
    for (const cache of caches) await cache.close();
  });

  test('a client that pipelines on its own is refused: it would get nothing from Redis', () => {
    const clients = [
      new Redis(redis.url, { enableAutoPipelining: true, lazyConnect: true }),
      new Cluster([{ host: '127.0.0.1', port: 1 }], { enableAutoPipelining: true, lazyConnect: true }),
    ];
    for (const client of clients) {
      expect(() => new RedisTier({ client })).toThrow(
        "@x/cache: client's enableAutoPipelining must be false, got true",
      );
      client.disconnect();
    }
  });
});

// All keys were arguments of one call: more than the stack holds were an error, so that none was found.

test('any number of keys can be read and deleted at once', async () => {
  const client = redis.connect();
  const cache = () => new Cache({ remote: new RedisTier({ client, prefix: 'many:', commandTimeoutMs: 60_000 }) });
  const [one, two] = [cache(), cache()];
  const keys = Array.from({ length: 150_000 }, (_, n) => `key ${n}`);
  await one.set('key 7', 7);
  await one.set('key 149999', 149_999);
  const found = await two.getMany(keys);
  expect(found).toHaveLength(150_000);
  expect([found[7], found[149_999], found.filter((value) => value !== undefined).length]).toEqual([7, 149_999, 2]);
  expect(await two.delete(keys)).toBe(true);
  expect(await one.getMany(['key 7'])).toEqual([undefined]);
  expect([one, two].map((each) => each.stats().remoteFailures)).toEqual([0, 0]);
  await Promise.all([one.close(), two.close()]);
}, 60_000);
