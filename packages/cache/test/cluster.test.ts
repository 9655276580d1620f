import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import type { Cluster } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { RELEASES } from './clients.ts';
import { clusterServer, RedisCluster } from './redis-cluster.ts';

const server = clusterServer();
const KEYS = Array.from({ length: 30 }, (_, n) => `key ${n}`);

// Valkey as WebAssembly has no cluster bus.
describe.skipIf(server === undefined)('a cluster', () => {
  let nodes: RedisCluster;

  beforeAll(async () => {
    nodes = await RedisCluster.start(server as string);
  });
  afterAll(async () => {
    await nodes?.[Symbol.asyncDispose]();
  });

  describe.each(RELEASES)('with $release', ({ Cluster: Client }) => {
    const closing: (() => unknown)[] = [];
    let client: Cluster;

    beforeEach(async () => {
      client = connect();
      await Promise.all(KEYS.map((key) => client.del(`cl:${key}`)));
    });
    afterEach(async () => {
      for (const close of closing.splice(0).reverse()) await close();
    });

    function connect(): Cluster {
      const cluster = new Client(
        nodes.ports.map((port) => ({ host: '127.0.0.1', port })),
        { keyPrefix: 'p:' },
      );
      cluster.on('error', () => {});
      closing.push(() => cluster.disconnect());
      return cluster;
    }

    async function start(invalidation: 'tracking' | 'pubsub' = 'tracking'): Promise<Cache> {
      const cache = new Cache({ remote: new RedisTier({ client: connect(), prefix: 'cl:', invalidation }) });
      closing.push(() => cache.close());
      await new Promise((resolve) => cache.on('coherence', resolve));
      return cache;
    }

    const noneLeft = (cache: Cache, keys = KEYS) =>
      vi.waitFor(() => expect(keys.filter((key) => cache.peek(key) !== undefined)).toEqual([]), { timeout: 10_000 });

    test('that its servers evict is told', async () => {
      const limit = (maxmemory: string, policy: string) =>
        Promise.all(
          client.nodes('master').map((node) => node.config('SET', 'maxmemory', maxmemory, 'maxmemory-policy', policy)),
        );
      await limit('100mb', 'allkeys-lru');
      closing.push(() => limit('0', 'noeviction'));
      const cache = await start();
      const degraded: string[] = [];
      cache.on('invalidationDegraded', ({ to }) => degraded.push(to));
      await cache.set('key 1', 1, { tags: ['t'] });
      await vi.waitFor(() => expect(degraded).toEqual(['evictable']));
    });

    test('every method works, keys on all nodes, tags across them', async () => {
      const [a, b] = [await start(), await start()];
      expect(await a.getOrSetMany(KEYS, (keys) => keys, { tags: ['t'] })).toEqual(KEYS);
      expect(await b.getMany(KEYS)).toEqual(KEYS);
      expect(b.stats().hitsRemote).toBe(KEYS.length);
      await a.expire('key 0');
      expect(await a.get('key 0')).toBeUndefined();
      expect(await a.delete(['key 1', 'key 2'])).toBe(true);
      await a.deleteByTag('t');
      await noneLeft(b);
      expect(await b.getMany(KEYS)).toEqual(KEYS.map(() => undefined));
      await Promise.all(KEYS.map((key) => b.set(key, 1)));
      expect(await a.deleteByPattern('key 1*')).toBe(11);
      expect((await a.getMany(KEYS)).filter((value) => value === 1)).toHaveLength(19);
      await a.clear();
      await noneLeft(b);
    });

    test.each(['tracking', 'pubsub'] as const)('%s hears from all masters', async (invalidation) => {
      const [a, b] = [await start(invalidation), await start(invalidation)];
      await Promise.all(KEYS.map((key) => a.set(key, 'old')));
      expect(await b.getMany(KEYS)).toEqual(KEYS.map(() => 'old'));
      await Promise.all(KEYS.map((key) => a.set(key, 'new')));
      await noneLeft(b);
      expect(await b.getMany(KEYS)).toEqual(KEYS.map(() => 'new'));
    });

    test('writers outside of the library are noticed, on whatever node', async () => {
      const cache = await start();
      await Promise.all(KEYS.map((key) => cache.set(key, 'old')));
      await Promise.all(KEYS.map((key) => client.del(`cl:${key}`)));
      await noneLeft(cache);
    });

    test('one load for a key among processes', async () => {
      const caches = [await start(), await start(), await start()];
      let loads = 0;
      const load = async () => {
        loads++;
        await new Promise((resolve) => setTimeout(resolve, 20));
        return loads;
      };
      const values = await Promise.all(
        KEYS.flatMap((key) => caches.flatMap((cache) => [cache.getOrSet(key, load), cache.getOrSet(key, load)])),
      );
      expect(values).toHaveLength(6 * KEYS.length);
      expect(loads).toBe(KEYS.length);
    });

    test('a value whose tag cannot be noted is not kept in Redis, where deleteByTag would miss it', async () => {
      const spoilt = connect();
      const call = spoilt.call.bind(spoilt) as (...args: unknown[]) => Promise<unknown>;
      // As a server answers whose key is taken for something else between two steps of the script.
      spoilt.call = (...args: unknown[]) =>
        args.includes('tag|cl:spoilt') ? Promise.reject(new Error('WRONGTYPE not a zset')) : call(...args);
      const cache = new Cache({ remote: new RedisTier({ client: spoilt, prefix: 'cl:', invalidation: 'none' }) });
      closing.push(() => cache.close());
      await client.set('cl:key 1', 'there before');
      await cache.set('key 1', 'set', { tags: ['sound', 'spoilt'] });
      expect(await cache.getOrSet('key 2', () => 'loaded', { tags: ['sound', 'spoilt'] })).toBe('loaded');
      expect([await client.get('cl:key 1'), await client.get('cl:key 2')]).toEqual([null, null]);
      await cache.set('key 3', 'set', { tags: ['sound'] });
      expect(await client.exists('cl:key 3')).toBe(1);
    });

    test('what reads from replicas is refused, since they may not know yet', async () => {
      const replicas = new Client([{ host: '127.0.0.1', port: nodes.ports[0] as number }], { scaleReads: 'slave' });
      closing.push(() => replicas.disconnect());
      expect(() => new RedisTier({ client: replicas })).toThrow(
        "@x/cache: client's scaleReads must be 'master' unless invalidation is 'none', got 'slave'",
      );
      expect(() => new RedisTier({ client: replicas, invalidation: 'none' })).not.toThrow();
    });
  });

  test('when a replica takes its master’s place, what it tells is heard', async () => {
    const [{ Cluster: Client }] = RELEASES;
    const client = new Client(nodes.ports.map((port) => ({ host: '127.0.0.1', port })));
    const writer = new Client(nodes.ports.map((port) => ({ host: '127.0.0.1', port })));
    for (const each of [client, writer]) each.on('error', () => {});
    const cache = new Cache({ remote: new RedisTier({ client, prefix: 'fo:' }) });
    const states: string[] = [];
    cache.on('coherence', ({ state }) => states.push(state));
    const noneLeft = () =>
      vi.waitFor(() => expect(KEYS.filter((key) => cache.peek(key) !== undefined)).toEqual([]), { timeout: 10_000 });
    const coherent = () => vi.waitFor(() => expect(states.at(-1)).toBe('coherent'), { timeout: 10_000 });
    try {
      await coherent();
      await Promise.all(KEYS.map((key) => cache.set(key, 'old')));
      await nodes.failOver();
      // This process reads from memory alone and knows nothing of it; the old master still tells, as a replica.
      await Promise.all(KEYS.map((key) => writer.set(`fo:${key}`, 'x')));
      await noneLeft();
      await vi.waitFor(
        async () => {
          // The client learns of it by what it asks.
          await Promise.all(KEYS.map((key) => client.get(`fo:${key}`)));
          expect(client.nodes('master').map(({ options }) => options.port)).toContain(nodes.ports.at(-1));
        },
        { timeout: 15_000, interval: 100 },
      );
      await vi.waitFor(() => expect(states).toContain('isolated'), { timeout: 10_000 });
      await coherent();
      await Promise.all(KEYS.map((key) => cache.set(key, 'known')));
      await Promise.all(KEYS.map((key) => writer.del(`fo:${key}`)));
      await noneLeft();
    } finally {
      await cache.close();
      client.disconnect();
      writer.disconnect();
    }
  });
});
