import { Cache, type CacheOptions, type RemoteListener } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

test('each use lets an entry live on for its time to live; a look does not', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, sliding: true, clock });
  const uses: ((key: string) => Promise<unknown>)[] = [
    (key) => cache.get(key),
    (key) => cache.getOrSet(key, () => 'new'),
    (key) => cache.getOrSetEntry(key, () => 'new'),
    (key) => cache.getMany([key]),
    (key) => cache.getOrSetMany([key], (keys) => keys.map(() => 'new')),
  ];
  for (const [n, use] of uses.entries()) {
    await cache.getOrSet(`k${n}`, () => 'old');
    for (let turn = 0; turn < 3; turn++) {
      await clock.advance(999);
      await use(`k${n}`);
    }
    await clock.advance(999);
    expect([n, cache.peek(`k${n}`)]).toEqual([n, 'old']);
    await cache.lookup(`k${n}`);
    await clock.advance(1);
    expect(cache.peek(`k${n}`)).toBeUndefined();
  }
  expect(cache.stats().loads).toBe(uses.length);
});

test('the slightest use counts, and an entry’s own time to live is the one that slides', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, clock });
  await cache.set('k', 1, { ttlMs: 100, sliding: true });
  await cache.getOrSet(
    'chosen',
    ({ setTtl }) => {
      setTtl(50);
      return 1;
    },
    { sliding: true },
  );
  await cache.set('fixed', 1, { ttlMs: 100 });
  await clock.advance(1);
  await cache.getMany(['k', 'chosen', 'fixed']);
  await clock.advance(49);
  expect([cache.peek('k'), cache.peek('chosen')]).toEqual([1, 1]);
  await clock.advance(1);
  expect(cache.peek('chosen')).toBeUndefined();
  await clock.advance(49);
  expect([cache.peek('k'), cache.peek('fixed')]).toEqual([1, undefined]);
  await clock.advance(1);
  expect(cache.peek('k')).toBeUndefined();
});

test('what is expired does not slide back to life, and its stale windows begin where it ended', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, sliding: true, staleIfErrorMs: 100, clock });
  await cache.set('k', 1);
  await cache.expire('k');
  expect(await cache.get('k')).toBeUndefined();
  await cache.set('k', 2);
  await clock.advance(500);
  await cache.get('k');
  await clock.advance(1_099);
  const down = () => Promise.reject(new Error('down'));
  expect(await cache.getOrSet('k', down)).toBe(2);
  await clock.advance(1);
  await expect(cache.getOrSet('k', down)).rejects.toThrow('down');
});

test('what became stale while it was being renewed is not renewed', async () => {
  const store = new MapStore();
  class Tier extends MapTier {
    override async lease(...asked: Parameters<MapTier['lease']>) {
      const answer = await super.lease(...asked);
      // The lease came late.
      await store.clock.advance(600);
      return answer;
    }
  }
  const cache = new Cache({
    remote: new Tier(store),
    ttlMs: 1_000,
    staleIfErrorMs: 60_000,
    sliding: true,
    clock: store.clock,
  });
  await cache.set('k', 'v');
  await store.clock.advance(500);
  expect(await cache.get('k')).toBe('v');
  // What is asked of the tier in the background needs no timer but the clock's steps.
  await new Promise((resolve) => setImmediate(resolve));
  await store.clock.advance(0);
  await new Promise((resolve) => setImmediate(resolve));
  expect(await cache.lookup('k')).toMatchObject({ value: 'v', stale: true });
  expect(store.entries.get('k')?.entry?.freshUntil).toBeLessThanOrEqual(store.clock.wallNow());
  // Its lease was given back: a load need not wait for it.
  expect(await cache.getOrSet('k', () => 'new')).toBe('new');
});

test('what another process made stale is taken over at the next use, without a lease', async () => {
  const store = new MapStore();
  let leases = 0;
  class Deaf extends MapTier {
    override readonly subscribe = (listener: RemoteListener) => {
      listener.back();
      const { clock } = store;
      const beat = () => {
        listener.current(0);
        timer = clock.setTimeout(beat, 100);
      };
      let timer = clock.setTimeout(beat, 100);
      return () => clock.clearTimeout(timer);
    };
    override async lease(...asked: Parameters<MapTier['lease']>) {
      leases++;
      return super.lease(...asked);
    }
  }
  const cache = new Cache({
    remote: new Deaf(store),
    ttlMs: 1_000,
    staleIfErrorMs: 60_000,
    sliding: true,
    clock: store.clock,
  });
  await cache.set('k', 'v');
  await new MapTier(store).expire(['k']);
  await store.clock.advance(500);
  expect(await cache.get('k')).toBe('v');
  await store.clock.advance(0);
  expect(cache.peek('k')).toBeUndefined();
  expect(await cache.lookup('k')).toMatchObject({ value: 'v', stale: true });
  expect(leases).toBe(0);
});

describe('over Redis', () => {
  const clients: Redis[] = [];
  let stop: (() => Promise<void>) | undefined;
  afterEach(async () => {
    for (const client of clients.splice(0)) client.disconnect();
    await stop?.();
  });

  async function start(options: CacheOptions = {}) {
    const service = await startRedis();
    stop = async () => service[Symbol.asyncDispose]();
    const clock = new ManualClock({ wallNow: Date.now() });
    const connect = () => {
      const client = new Redis(service.url);
      clients.push(client);
      return client;
    };
    const observer = connect();
    await observer.flushall();
    const process = () => {
      const remote = new RedisTier({
        client: connect(),
        prefix: 's:',
        invalidation: 'none',
        clock,
        commandTimeoutMs: 1_000_000_000,
      });
      return new Cache({ ttlMs: 1_000_000, sliding: true, remote, clock, ...options });
    };
    /** Lets what runs in the background on Redis come to its end. */
    const settle = async () => {
      for (let n = 0; n < 10; n++) await observer.ping();
    };
    return { clock, observer, process, settle };
  }

  test('a use in one process lets it live on in Redis for all', async () => {
    const { clock, process, settle } = await start();
    const [a, b] = [process(), process()];
    await a.getOrSet('k', () => 'v', { tags: ['t'] });
    for (let turn = 0; turn < 4; turn++) {
      await clock.advance(600_000);
      expect(await a.get('k')).toBe('v');
      await settle();
    }
    expect(await b.lookup('k')).toMatchObject({ value: 'v', tier: 'remote', ttlMs: 1_000_000, ageMs: 2_400_000 });
    // The one that only read it from Redis does the same, and the tags stay.
    await clock.advance(900_000);
    expect(await b.get('k')).toBe('v');
    await settle();
    await clock.advance(900_000);
    expect(await a.get('k')).toBe('v');
    await a.deleteByTag('t');
    expect(await process().get('k')).toBeUndefined();
  });

  test('Redis hears of a hot entry at most every tenth of its time to live', async () => {
    const { clock, observer, process, settle } = await start();
    const cache = process();
    await cache.set('k', 'v');
    const version = async () => (await observer.get('s:k'))?.slice(4, 20);
    let last = await version();
    let writes = 0;
    for (let n = 0; n < 40; n++) {
      await clock.advance(25_000);
      for (let reads = 0; reads < 5; reads++) expect(await cache.get('k')).toBe('v');
      await settle();
      const now = await version();
      if (now !== last) writes++;
      last = now;
    }
    expect(writes).toBeGreaterThanOrEqual(8);
    expect(writes).toBeLessThanOrEqual(10);
  });

  test('what another process deleted does not live on here, however often it is read', async () => {
    const { clock, observer, process, settle } = await start();
    const cache = process();
    await cache.set('k', 'v');
    await observer.del('s:k');
    await clock.advance(999_999);
    expect(await cache.get('k')).toBe('v');
    await settle();
    expect(await cache.get('k')).toBe('v');
    await settle();
    await clock.advance(1);
    expect(await cache.get('k')).toBeUndefined();
  });

  test('a new value that another process wrote takes the place of the old one at the next renewal', async () => {
    const { clock, process, settle } = await start();
    const [a, b] = [process(), process()];
    await a.set('k', 'old');
    await clock.advance(500_000);
    await b.set('k', 'new');
    await a.get('k');
    await settle();
    expect(a.peek('k')).toBe('new');
  });

  test('what only memory can hold slides there alone', async () => {
    const { clock, process } = await start();
    const cache = process();
    await cache.set('k', new Map([[1, 2]]));
    for (let n = 0; n < 3; n++) {
      await clock.advance(999_999);
      expect(await cache.get('k')).toEqual(new Map([[1, 2]]));
    }
  });
});

describe('renewing in a tier', () => {
  /** Counts what it is asked, and keeps the answer to a `get` back while the test says so. */
  class Watched extends MapTier {
    gets = 0;
    leases = 0;
    listener: RemoteListener | undefined;
    heldBack: Promise<void> | undefined;

    override readonly subscribe = (listener: RemoteListener) => {
      this.listener = listener;
      listener.back();
      const beat = () => {
        listener.current(0);
        this.store_.clock.setTimeout(beat, 500);
      };
      beat();
      return () => {};
    };

    override async get(key: string) {
      this.gets++;
      await this.heldBack;
      return super.get(key);
    }

    override lease(...asked: Parameters<MapTier['lease']>) {
      this.leases++;
      return super.lease(...asked);
    }
  }

  function start(options: CacheOptions = {}) {
    const store = new MapStore();
    const tier = new Watched(store);
    const cache = new Cache({ remote: tier, clock: store.clock, ttlMs: 1_000, sliding: true, ...options });
    const settled = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      await store.clock.advance(0);
    };
    const use = async () => {
      const value = await cache.get('k');
      await settled();
      return value;
    };
    return { store, tier, cache, use, settled };
  }

  test('what another process has renewed lately is taken over as it is', async () => {
    const { store, tier, cache, use } = start();
    await cache.set('k', 1);
    await store.clock.advance(200);
    const there = store.entries.get('k');
    if (there?.entry !== undefined) there.entry = { ...there.entry, freshUntil: store.clock.wallNow() + 950 };
    expect(await use()).toBe(1);
    expect([tier.gets, tier.leases]).toEqual([1, 0]);
    await store.clock.advance(940);
    expect(cache.peek('k')).toBe(1);
    await store.clock.advance(10);
    expect(cache.peek('k')).toBeUndefined();
  });

  test('a tier that has it no more is asked every tenth of the time to live', async () => {
    const { store, tier, cache, use } = start();
    await cache.set('k', 1);
    store.entries.clear();
    await store.clock.advance(200);
    for (let n = 0; n < 5; n++) expect(await use()).toBe(1);
    expect(tier.gets).toBe(1);
    await store.clock.advance(100);
    for (let n = 0; n < 5; n++) expect(await use()).toBe(1);
    expect(tier.gets).toBe(2);
  });

  test('a new entry that slides in memory alone is not held up by the renewal of the one before', async () => {
    const { store, tier, cache, use, settled } = start();
    await cache.set('k', 1);
    store.entries.clear();
    await store.clock.advance(200);
    let answer: () => void = () => {};
    tier.heldBack = new Promise((resolve) => {
      answer = resolve;
    });
    expect(await use()).toBe(1);
    await cache.set('k', new Map([[1, 2]]));
    answer();
    await settled();
    tier.heldBack = undefined;
    for (let n = 0; n < 8; n++) {
      await store.clock.advance(300);
      expect(await use()).toEqual(new Map([[1, 2]]));
    }
  });

  test('a key is renewed once at a time', async () => {
    const { store, tier, cache, use, settled } = start();
    await cache.set('k', 1);
    await store.clock.advance(200);
    let answer: () => void = () => {};
    tier.heldBack = new Promise((resolve) => {
      answer = resolve;
    });
    for (let n = 0; n < 5; n++) expect(await use()).toBe(1);
    expect(tier.gets).toBe(1);
    answer();
    await settled();
    expect(tier.leases).toBe(1);
  });

  test('a key is held while it is renewed, and no longer', async () => {
    const { store, tier, cache, use } = start();
    await cache.set('k', 1);
    await store.clock.advance(200);
    await use();
    expect(tier.leases).toBe(1);
    await cache.delete('k');
    expect(tier.listener?.holds('k')).toBe(false);
  });

  test('what another process invalidated while it was renewed leaves memory', async () => {
    const { store, tier, cache, use } = start();
    tier.store = async () => 'lost';
    await cache.set('k', 1);
    await store.clock.advance(200);
    await use();
    expect(cache.peek('k')).toBeUndefined();
  });

  test('a renewed entry keeps its stale windows, and its own time to live where that is the shorter one', async () => {
    const { store, cache, use } = start({ ttlMs: 60_000, staleIfErrorMs: 700, staleWhileRevalidateMs: 300 });
    await new Cache({ remote: new MapTier(store), clock: store.clock }).set('k', 1, { ttlMs: 100 });
    expect(await use()).toBe(1);
    await store.clock.advance(50);
    expect(await use()).toBe(1);
    const renewed = store.entries.get('k');
    expect(renewed?.entry?.freshUntil).toBe(store.clock.wallNow() + 100);
    expect(renewed?.goneAt).toBe(store.clock.now() + 100 + 700);
    await store.clock.advance(100);
    expect(await cache.lookup('k')).toMatchObject({ value: 1, stale: true });
  });
});
