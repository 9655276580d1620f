import { Cache, type CacheOptions } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { RELEASES } from './clients.ts';

let service: Awaited<ReturnType<typeof startRedis>>;

beforeAll(async () => {
  service = await startRedis();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});

const WAYS = RELEASES.flatMap(({ release, Redis }) =>
  (['tracking', 'pubsub'] as const).map((invalidation) => ({ release, Redis, invalidation })),
);

describe.each(WAYS)('$invalidation with $release', ({ Redis, invalidation }) => {
  const closing: (() => unknown)[] = [];
  let outsider: Redis;

  beforeEach(async () => {
    outsider = connect();
    await outsider.flushall();
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  function connect(keyPrefix = ''): Redis {
    const client = new Redis(service.url, { keyPrefix });
    closing.push(() => client.disconnect());
    return client;
  }

  /** A cache as in a process of its own, which hears of the others. */
  async function process(options: CacheOptions = {}, tier: { client?: Redis } = {}): Promise<Cache> {
    const remote = new RedisTier({ client: tier.client ?? connect(), prefix: 'told:', invalidation });
    const cache = new Cache({ remote, ...options });
    closing.push(() => cache.close());
    await coherent(cache);
    return cache;
  }

  function coherent(cache: Cache): Promise<void> {
    return new Promise((resolve) => {
      const off = cache.on('coherence', ({ state }) => {
        if (state !== 'coherent') return;
        off();
        resolve();
      });
    });
  }

  const gone = (cache: Cache, key: string) =>
    vi.waitFor(() => expect(cache.peek(key)).toBeUndefined(), { timeout: 5_000, interval: 2 });

  test.each<[string, (cache: Cache) => Promise<unknown>]>([
    ['delete', (cache) => cache.delete('k')],
    ['expire', (cache) => cache.expire('k')],
    ['deleteByTag', (cache) => cache.deleteByTag('t')],
    ['deleteByPattern', (cache) => cache.deleteByPattern('k*')],
    ['clear', (cache) => cache.clear()],
    ['set', (cache) => cache.set('k', 'new')],
  ])('%s in one process reaches the memory of another', async (_, invalidate) => {
    const [a, b] = [await process(), await process()];
    await a.getOrSet('k', () => 'old', { tags: ['t'] });
    await a.set('other', 1);
    expect(await b.get('k')).toBe('old');
    expect(await b.get('other')).toBe(1);
    await invalidate(a);
    await gone(b, 'k');
    expect(await b.getOrSet('k', () => 'new')).toBe('new');
  });

  test('what a process puts into Redis stays in its own memory', async () => {
    const [a, b] = [await process(), await process()];
    await a.getOrSet('loaded', () => 1);
    await a.set('set', 2);
    await a.set('tagged', 3, { tags: ['t'] });
    expect(await b.get('loaded')).toBe(1);
    // The news of a later change comes after that of the earlier ones.
    await b.set('last', 1);
    await a.get('last');
    await b.set('last', 2);
    await gone(a, 'last');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([a.peek('loaded'), a.peek('set'), a.peek('tagged')]).toEqual([1, 2, 3]);
  });

  test('a value that only one process can have, since JSON cannot, is invalidated by others all the same', async () => {
    const [a, b] = [await process(), await process()];
    for (const invalidate of [
      () => b.delete('k'),
      () => b.deleteByTag('t'),
      () => b.deleteByPattern('*'),
      () => b.expire('k'),
    ]) {
      await a.getOrSet('k', () => new Map([[1, 2]]), { tags: ['t'] });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(a.peek('k')).toEqual(new Map([[1, 2]]));
      await invalidate();
      await gone(a, 'k');
    }
  });

  test('others that invalidate during a load win over it, and whoever calls after that gets a load of his own', async () => {
    const [a, b] = [await process(), await process()];
    let finish: (value: string) => void = () => {};
    const first = a.getOrSet('k', () => new Promise<string>((resolve) => (finish = resolve)));
    await vi.waitFor(async () => expect(await outsider.exists('told:k')).toBe(1));
    await b.delete('k');
    // Told of it, a begins anew; until then it would share the old load.
    const second = vi.waitFor(async () => {
      const loaded = a.getOrSet('k', () => 'new');
      expect(await Promise.race([loaded, new Promise((resolve) => setTimeout(resolve, 50, 'shared'))])).toBe('new');
    });
    await second;
    finish('old');
    expect(await first).toBe('old');
    expect(await a.get('k')).toBe('new');
    expect(await b.get('k')).toBe('new');
  });

  test('the connections are closed with the cache, and nothing is left on the client', async () => {
    const client = connect();
    const connections = async () =>
      String(await outsider.client('LIST'))
        .split('\n')
        .filter((line) => line !== '').length;
    await outsider.ping();
    await client.ping();
    const before = await connections();
    const listeners = client.eventNames().map((name) => [name, client.listenerCount(name)]);
    const cache = await process({}, { client });
    expect(await connections()).toBe(before + 1);
    await cache.close();
    await vi.waitFor(async () => expect(await connections()).toBe(before));
    expect(client.eventNames().map((name) => [name, client.listenerCount(name)])).toEqual(listeners);
    expect(await client.ping()).toBe('PONG');
  });

  test('a client with a keyPrefix hears of the same keys', async () => {
    const [a, b] = [await process({}, { client: connect('app:') }), await process({}, { client: connect('app:') })];
    await a.set('k,1', 'old');
    expect(await b.get('k,1')).toBe('old');
    await outsider.set('told:k,1', 'not below app:');
    await a.set('k,1', 'new');
    await gone(b, 'k,1');
    await b.get('k,1');
    await a.delete('k,1');
    await gone(b, 'k,1');
  });
});

describe.each(RELEASES)('writers outside of this library, with $release', ({ Redis }) => {
  test.each<[string, (outsider: Redis, name: string) => Promise<unknown>]>([
    ['SET', (outsider, name) => outsider.set(name, 'x')],
    ['DEL', (outsider, name) => outsider.del(name)],
    ['PEXPIRE', (outsider, name) => outsider.pexpire(name, 1)],
    ['RENAME', (outsider, name) => outsider.rename(name, 'elsewhere')],
    ['a transaction', (outsider, name) => outsider.multi().set(name, 'x').set(`${name},2`, 'y').exec()],
    ['FLUSHDB', (outsider) => outsider.flushdb()],
  ])('%s is noticed under tracking', async (_, write) => {
    const [client, outsider] = [new Redis(service.url), new Redis(service.url)];
    const cache = new Cache({ remote: new RedisTier({ client, prefix: 'out:' }) });
    try {
      await new Promise((resolve) => cache.on('coherence', resolve));
      await cache.set('ünï,{k}', 'old');
      await cache.set('unconcerned', 1);
      await write(outsider, 'out:ünï,{k}');
      await vi.waitFor(() => expect(cache.peek('ünï,{k}')).toBeUndefined());
      expect(await cache.getOrSet('ünï,{k}', () => 'new')).toBe('new');
    } finally {
      await cache.close();
      client.disconnect();
      outsider.disconnect();
    }
  });
});

test('what this process took away itself does not hide that somebody else does so later', async () => {
  const [client, outsider] = [new RELEASES[0].Redis(service.url), new RELEASES[0].Redis(service.url)];
  const cache = new Cache({ remote: new RedisTier({ client, prefix: 'out:' }) });
  const other = new Cache({ remote: new RedisTier({ client: outsider, prefix: 'out:' }) });
  try {
    await new Promise((resolve) => cache.on('coherence', resolve));
    // Redis cannot have it: the lease is given back, and nothing is left.
    await cache.getOrSet('k', () => new Map());
    await other.set('k', 'theirs');
    await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
    expect(await cache.get('k')).toBe('theirs');
    await outsider.del('out:k');
    await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
  } finally {
    await Promise.all([cache.close(), other.close()]);
    client.disconnect();
    outsider.disconnect();
  }
});

describe('a server that refuses', () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  function restricted(user: string): Redis {
    const url = new URL(service.url);
    const client = new RELEASES[0].Redis({
      host: url.hostname,
      port: Number(url.port),
      username: user,
      password: 'pw',
    });
    closing.push(() => client.disconnect());
    return client;
  }

  async function as(user: string, ...rules: string[]) {
    const admin = new RELEASES[0].Redis(service.url);
    await admin.flushall();
    await admin.call('ACL', 'SETUSER', user, 'reset', 'on', '>pw', '~*', '&*', '+@all', ...rules);
    admin.disconnect();
    const cache = new Cache({ remote: new RedisTier({ client: restricted(user), prefix: 'acl:', maxLagMs: 60_000 }) });
    closing.push(() => cache.close());
    const degraded: unknown[] = [];
    cache.on('invalidationDegraded', ({ to, error }) => degraded.push([to, (error as Error).message.slice(0, 6)]));
    const coherent = new Promise((resolve) => cache.on('coherence', resolve));
    return { cache, degraded, coherent };
  }

  test('tracking falls back to messages', async () => {
    const a = await as('untracked', '-client|tracking');
    const b = await as('untracked2', '-client|tracking');
    await Promise.all([a.coherent, b.coherent]);
    expect(a.degraded).toEqual([['pubsub', 'NOPERM']]);
    await a.cache.set('k', 'old');
    expect(await b.cache.get('k')).toBe('old');
    await a.cache.set('k', 'new');
    await vi.waitFor(() => expect(b.cache.peek('k')).toBeUndefined());
  });

  test('messages too: memory stays isolated, and says so', async () => {
    const { cache, degraded } = await as('deaf', '-client|tracking', '-subscribe');
    await vi.waitFor(() =>
      expect(degraded).toEqual([
        ['pubsub', 'NOPERM'],
        ['none', 'NOPERM'],
      ]),
    );
    expect(await cache.getOrSet('k', () => 1)).toBe(1);
  });

  test('publishing: what is invalidated is still done, and the circuit stays closed', async () => {
    const { cache, degraded, coherent } = await as('mute', '-publish');
    await coherent;
    await cache.set('k', 1);
    expect(await cache.delete('k')).toBe(true);
    expect(degraded).toEqual([['unpublished', 'NOPERM']]);
    await cache.set('k', 2);
    await cache.delete('k');
    expect(degraded).toHaveLength(1);
    expect(cache.stats().remoteFailures).toBe(0);
  });
});
