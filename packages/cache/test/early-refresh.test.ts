import { Cache, type CacheOptions } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

/** A cache, a loader that takes `loadMs`, and what it counted. */
async function loaded(loadMs: number, options: CacheOptions = {}) {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 60_000, earlyRefresh: true, clock, ...options });
  let loads = 0;
  const load = () =>
    new Promise<number>((resolve) => {
      const answer = ++loads;
      clock.setTimeout(() => resolve(answer), loadMs);
    });
  const first = cache.getOrSet('k', load);
  await clock.advance(loadMs);
  await first;
  return { cache, clock, load, loads: () => loads };
}

test('a read refreshes exactly where the draw says so: -δ·β·ln(u) reaches the end of freshness', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5_000 }),
      fc.double({ min: 0.1, max: 5, noNaN: true }),
      fc.double({ min: 0, max: 0.999_999_999, noNaN: true }),
      fc.integer({ min: 1, max: 59_999 }),
      async (loadMs, earlyRefresh, random, ageMs) => {
        const { cache, clock, load, loads } = await loaded(loadMs, { earlyRefresh, random: () => random });
        await clock.advance(ageMs);
        expect(await cache.getOrSet('k', load)).toBe(1);
        const due = -loadMs * earlyRefresh * Math.log(1 - random) >= 60_000 - ageMs;
        expect(loads()).toBe(due ? 2 : 1);
        expect(cache.stats()).toMatchObject({ hitsMemory: 1, misses: 1, staleServed: 0 });
      },
    ),
    { numRuns: 150 },
  );
});

test('nobody waits for a refresh, readers share one, and what it brings is fresh for its whole time', async () => {
  let random = 0;
  const { cache, clock, load, loads } = await loaded(1_000, { random: () => random });
  await clock.advance(59_000);
  random = 0.9;
  expect(await Promise.all(Array.from({ length: 20 }, () => cache.getOrSet('k', load)))).toEqual(Array(20).fill(1));
  expect(await cache.getOrSetEntry('k', load)).toMatchObject({ value: 1, tier: 'memory', stale: false, ttlMs: 1_000 });
  expect(loads()).toBe(2);
  await clock.advance(1_000);
  expect(cache.peek('k')).toBe(2);
  await clock.advance(50_000);
  expect(cache.peek('k')).toBe(2);
  expect(loads()).toBe(2);
});

test('a refresh that fails leaves what is there, and is nobody’s exception', async () => {
  const { cache, clock } = await loaded(1_000, { random: () => 0.9 });
  await clock.advance(59_000);
  expect(await cache.getOrSet('k', () => Promise.reject(new Error('down')))).toBe(1);
  await clock.advance(0);
  expect(cache.peek('k')).toBe(1);
  expect(cache.stats()).toMatchObject({ loadFailures: 1, loads: 2 });
});

test('an entry deleted while it is refreshed stays away', async () => {
  const { cache, clock, load } = await loaded(1_000, { random: () => 0.9 });
  await clock.advance(59_000);
  await cache.getOrSet('k', load);
  await cache.delete('k');
  await clock.advance(1_000);
  expect(cache.peek('k')).toBeUndefined();
});

test('callers who find the entry over join the refresh that is under way', async () => {
  const { cache, clock, load, loads } = await loaded(10_000, { random: () => 0.9 });
  await clock.advance(59_000);
  await cache.getOrSet('k', load);
  await clock.advance(5_000);
  const late = cache.getOrSet('k', load);
  await clock.advance(5_000);
  expect(await late).toBe(2);
  expect(loads()).toBe(2);
});

test.each([
  ['off by default', { earlyRefresh: undefined }, {}],
  ['off', { earlyRefresh: false }, {}],
  ['off for one call', {}, { earlyRefresh: 0 }],
  ['not for what slides', { sliding: true }, {}],
])('%s', async (_, options, perCall) => {
  const { cache, clock, load, loads } = await loaded(10_000, { random: () => 0.999_999, ...options });
  await clock.advance(59_000);
  await cache.getOrSet('k', load, perCall);
  expect(loads()).toBe(1);
});

test('on for one call; β of 100 at most; what was only set is not refreshed', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 60_000, random: () => 0.999_999, clock });
  await cache.set('k', 'set', {});
  let loads = 0;
  await clock.advance(59_999);
  expect(await cache.getOrSet('k', () => ++loads, { earlyRefresh: 100 })).toBe('set');
  expect(loads).toBe(0);
  await expect(cache.getOrSet('new', () => 1, { earlyRefresh: 101 })).rejects.toThrow(RangeError);
  await expect(cache.getOrSet('new', () => 1, { earlyRefresh: -1 })).rejects.toThrow(RangeError);
});

test('hundreds of reads a second nearly never find it over, and seldom load', async () => {
  let seed = 7;
  const random = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };
  const { cache, clock, load, loads } = await loaded(500, { random });
  const cycles = 20;
  for (let n = 0; n < cycles * 60 * 20; n++) {
    await cache.getOrSet('k', load);
    clock.jump(50);
    if (n % 5 === 0) await clock.advance(0);
  }
  // The cold caller alone waited: misses count loads that somebody waited for.
  expect(cache.stats()).toMatchObject({ misses: 1, staleServed: 0 });
  expect(loads()).toBeGreaterThanOrEqual(cycles);
  expect(loads()).toBeLessThan(cycles * 1.2);
});

describe('over Redis', () => {
  async function onRedis(
    run: (process: (random?: () => number, options?: CacheOptions) => Cache, clock: ManualClock) => Promise<void>,
  ) {
    const service = await startRedis();
    const clock = new ManualClock({ wallNow: Date.now() });
    const clients: Redis[] = [];
    const caches: Cache[] = [];
    try {
      await run((random = () => 0, options = {}) => {
        const client = new Redis(service.url);
        clients.push(client);
        const remote = new RedisTier({
          client,
          prefix: 'early:',
          invalidation: 'none',
          clock,
          commandTimeoutMs: 1_000_000_000,
        });
        const cache = new Cache({ ttlMs: 60_000, earlyRefresh: true, remote, clock, random, ...options });
        caches.push(cache);
        return cache;
      }, clock);
    } finally {
      for (const cache of caches) {
        const closing = cache.close();
        await clock.advance(20_000);
        await closing;
      }
      for (const client of clients) client.disconnect();
      await service[Symbol.asyncDispose]();
    }
  }

  test('one of many processes refreshes, and the others take over what it stored', async () => {
    await onRedis(async (process, clock) => {
      let loads = 0;
      let finish: () => void = () => {};
      const loadsOf = [0, 0, 0, 0];
      const slow = (index: number) => () =>
        new Promise<number>((resolve) => {
          const answer = ++loads;
          (loadsOf[index] as number)++;
          finish = () => resolve(answer);
        });
      const caches = Array.from({ length: 4 }, () => process(() => 0.9));
      const [first] = caches as [Cache];
      const begun = first.getOrSet('k', slow(0));
      while (loads === 0) await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(1_000);
      finish();
      await begun;
      // Each process has it in memory, with the load time that the first one measured.
      for (const [index, cache] of caches.entries()) expect(await cache.getOrSet('k', slow(index))).toBe(1);
      await clock.advance(59_000);
      for (const [index, cache] of caches.entries()) expect(await cache.getOrSet('k', slow(index))).toBe(1);
      while (loads === 1) await new Promise((resolve) => setImmediate(resolve));
      finish();
      // Redis answers in its own time: were the clock let run ahead of it, the entry would be over.
      while (caches.some((cache) => cache.peek('k') !== 2)) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        await clock.advance(5);
      }
      expect(loads).toBe(2);
      // Which of them asked Redis first was up to their connections.
      expect(caches.map((cache) => cache.stats().loads)).toEqual(loadsOf);
    });
  });

  test('a process that has just read it from Redis draws too, also where memory does not take it', async () => {
    await onRedis(async (process, clock) => {
      const writer = process();
      const begun = writer.getOrSet('k', async () => {
        await clock.advance(1_000);
        return 'old';
      });
      expect(await begun).toBe('old');
      await clock.advance(58_500);
      for (const options of [{}, { maxItemBytes: 1 }]) {
        const reader = process(() => 0.9, options);
        expect(await reader.getOrSetEntry('k', () => 'new')).toMatchObject({ value: 'old', tier: 'remote' });
        while (reader.stats().loads === 0) await new Promise((resolve) => setImmediate(resolve));
        await reader.close();
        await writer.set('k', 'old');
        await writer.delete('k');
        await writer.getOrSet('k', async () => {
          await clock.advance(1_000);
          return 'old';
        });
        await clock.advance(58_500);
      }
    });
  });
});

test('a load that another process says took very long is believed up to a quarter of its entry’s life', async () => {
  const store = new MapStore();
  const remote = new MapTier(store);
  const cache = new Cache({ remote, clock: store.clock, ttlMs: 1_000, earlyRefresh: true, random: () => 0.5 });
  const storedAt = store.clock.wallNow();
  const entry = { value: 'theirs', storedAt, freshUntil: storedAt + 1_000, keepMs: 1_000, tags: [], loadMs: 1e9 };
  await new MapTier(store).set('k', entry);
  for (const readAtMs of [0, 800]) {
    await store.clock.advance(readAtMs);
    expect(await cache.getOrSet('k', () => 'ours')).toBe('theirs');
    await store.clock.advance(0);
    expect(cache.stats().loads).toBe(0);
  }
  // -250 ln 0.5 is 173 ms.
  await store.clock.advance(30);
  expect(await cache.getOrSet('k', () => 'ours')).toBe('theirs');
  await store.clock.advance(0);
  expect(cache.stats().loads).toBe(1);
});

test('a large β reaches as far back as its draws do', async () => {
  const { cache, clock, load, loads } = await loaded(100, { earlyRefresh: 100, random: () => 0.99 });
  // -100 · 100 · ln 0.01 is 46 s, of 60.
  await clock.advance(13_000);
  await cache.getOrSet('k', load);
  expect(loads()).toBe(1);
  await clock.advance(2_000);
  await cache.getOrSet('k', load);
  expect(loads()).toBe(2);
});
