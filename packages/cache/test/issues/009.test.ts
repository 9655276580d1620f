import { Cache, stableKey } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RELEASES } from '../clients.ts';

// An array's items were read, not looked at: a getter among them gave the key one value, and the function another.

const withGetter = Object.defineProperty([1, 2], 1, { get: () => Math.random(), enumerable: true });

test('an array with a getter makes no key', () => {
  expect(() => stableKey(withGetter)).toThrow(/\$\[1\] is a getter or a setter/);
  expect(() => stableKey({ list: [withGetter] })).toThrow(/\$\.list\[0\]\[1\] is a getter or a setter/);
  const withSetter = Object.defineProperty([1], 0, { set: () => {}, enumerable: true });
  expect(() => stableKey(withSetter)).toThrow(TypeError);
});

// Options of the client that its owner may set turned leases off, or everything.

let service: Awaited<ReturnType<typeof startRedis>>;

beforeAll(async () => {
  service = await startRedis();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});

describe.each(RELEASES)('with $release', ({ Redis, Cluster }) => {
  test('a client that gives numbers as text works as any other', async () => {
    const client = new Redis(service.url, { stringNumbers: true });
    await client.flushall();
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
    client.disconnect();
  });

  test('a client that pipelines on its own is refused: it would get nothing from Redis', () => {
    const clients = [
      new Redis(service.url, { enableAutoPipelining: true, lazyConnect: true }),
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
