import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

test('an entry is fresh for its time to live, to the millisecond', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, clock });
  await cache.getOrSet('k', () => 'v');
  await clock.advance(999);
  expect(cache.peek('k')).toBe('v');
  expect(await cache.get('k')).toBe('v');
  await clock.advance(1);
  expect(cache.peek('k')).toBeUndefined();
  expect(await cache.get('k')).toBeUndefined();
  expect(await cache.getOrSet('k', () => 'new')).toBe('new');
});

test('the wall clock does not matter', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, clock });
  await cache.set('k', 'v');
  clock.stepWall(-86_400_000);
  await clock.advance(1_000);
  expect(cache.peek('k')).toBeUndefined();
});

test('null is a value, undefined is none, an error is none', async () => {
  const cache = new Cache();
  let loads = 0;
  const load = (value: unknown) => () => {
    loads++;
    return value;
  };
  expect(await cache.getOrSet('null', load(null))).toBeNull();
  expect(await cache.getOrSet('null', load('again'))).toBeNull();
  expect(await cache.get('null')).toBeNull();
  expect(cache.peek('null')).toBeNull();
  expect(loads).toBe(1);
  expect(await cache.getOrSet('undefined', load(undefined))).toBeUndefined();
  expect(await cache.getOrSet('undefined', load('again'))).toBe('again');
  expect(loads).toBe(3);
  for (const value of [0, '', false]) {
    expect(await cache.getOrSet(`falsy ${value}`, load(value))).toBe(value);
    expect(await cache.getOrSet(`falsy ${value}`, load('again'))).toBe(value);
  }
});

test('setting undefined deletes', async () => {
  const cache = new Cache();
  await cache.set('k', 1);
  await cache.set('k', undefined);
  expect(await cache.get('k')).toBeUndefined();
});

test('negativeTtlMs is the time to live of null', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, negativeTtlMs: 100, clock });
  await cache.getOrSet('loaded', () => null);
  await cache.set('set', null);
  await cache.set('chosen', null, { ttlMs: 500 });
  await clock.advance(100);
  expect(cache.peek('loaded')).toBeUndefined();
  expect(cache.peek('set')).toBeUndefined();
  expect(cache.peek('chosen')).toBeNull();
});

test('a loader decides from the value how long it is fresh', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock });
  await cache.getOrSet('short', ({ setTtl }) => {
    setTtl(50);
    return 'v';
  });
  await cache.getOrSet('not at all', ({ setTtl }) => {
    setTtl(0);
    return 'v';
  });
  expect(cache.peek('short')).toBe('v');
  expect(cache.peek('not at all')).toBeUndefined();
  await clock.advance(50);
  expect(cache.peek('short')).toBeUndefined();
});

test('jitter only shortens, by at most its ratio', async () => {
  const clock = new ManualClock();
  let random = 0;
  const cache = new Cache({ ttlMs: 1_000, jitter: 0.2, random: () => random, clock });
  await cache.set('longest', 1);
  random = 0.999999;
  await cache.set('shortest', 1);
  await clock.advance(799);
  expect(cache.peek('shortest')).toBe(1);
  await clock.advance(2);
  expect(cache.peek('shortest')).toBeUndefined();
  await clock.advance(198);
  expect(cache.peek('longest')).toBe(1);
  await clock.advance(1);
  expect(cache.peek('longest')).toBeUndefined();
});

test('a time to live beyond 2^31 ms, or without end, does not misfire', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: Number.POSITIVE_INFINITY, clock });
  await cache.set('for ever', 1);
  await cache.set('forty days', 1, { ttlMs: 40 * 86_400_000 });
  clock.jump(39 * 86_400_000);
  await clock.advance(1);
  expect(cache.peek('forty days')).toBe(1);
  clock.jump(86_400_000);
  await clock.advance(1);
  expect(cache.peek('forty days')).toBeUndefined();
  expect(cache.peek('for ever')).toBe(1);
});

test('prune frees what is over and says how much', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, clock });
  await cache.set('short', 1, { ttlMs: 10 });
  await cache.set('stale but useful', 1, { ttlMs: 10, staleIfErrorMs: 10_000 });
  await cache.set('long', 1);
  clock.jump(10);
  expect(cache.stats().entries).toBe(3);
  expect(cache.prune()).toBe(1);
  expect(cache.stats()).toMatchObject({ entries: 2, expirations: 1 });
});

test('what nobody reads again is freed by a sweep, which stops when there is nothing left', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, clock });
  expect(clock.pendingTimers).toBe(0);
  for (let n = 0; n < 1_000; n++) await cache.set(`k${n}`, { n });
  expect(cache.stats().bytes).toBeGreaterThan(64_000);
  await clock.advance(60_000);
  expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0, expirations: 1_000 });
  expect(clock.pendingTimers).toBe(0);
});

/** A way to have `value` kept under `k` by the options of one call. */
type Way = [
  name: string,
  keep: (cache: Cache, value: unknown, options: { jitter?: number; negativeTtlMs?: number }) => Promise<unknown>,
];

const loading: Way[] = [
  ['getOrSet', (cache, value, options) => cache.getOrSet('k', () => value, options)],
  ['getOrSetEntry', (cache, value, options) => cache.getOrSetEntry('k', () => value, options)],
  ['getOrSetMany', (cache, value, options) => cache.getOrSetMany(['k'], () => [value], options)],
  ['wrap', (cache, value, options) => cache.wrap(() => value, { name: 'f', ...options })()],
  ['a scope', (cache, value, options) => cache.scope('s').getOrSet('k', () => value, options)],
];

test.each(loading)('negativeTtlMs of one call of %s is that of its null, and of nothing else', async (_, keep) => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, negativeTtlMs: 500, clock });
  await keep(cache, null, { negativeTtlMs: 100 });
  await clock.advance(99);
  expect(await left(cache)).toBe(1);
  await clock.advance(1);
  expect(await left(cache)).toBe(0);
  await keep(cache, 'v', { negativeTtlMs: 100 });
  await clock.advance(999);
  expect(await left(cache)).toBe(1);
  await clock.advance(1);
  await keep(cache, null, {});
  await clock.advance(500);
  expect(await left(cache)).toBe(0);
  await keep(cache, null, { negativeTtlMs: 0 });
  expect(await left(cache)).toBe(0);
});

test.each<Way>([...loading, ['set', (cache, value, options) => cache.set('k', value, options)]])(
  'jitter of one call of %s shortens its time to live, whatever the cache’s own',
  async (_, keep) => {
    for (const [own, jitter, lives] of [
      [0, 0.5, 750],
      [0.5, 0, 1_000],
      [0.5, undefined, 750],
      [1, 0.2, 900],
    ] as const) {
      const clock = new ManualClock();
      const cache = new Cache({ ttlMs: 1_000, jitter: own, random: () => 0.5, clock });
      await keep(cache, 'v', jitter === undefined ? {} : { jitter });
      await clock.advance(lives - 1);
      expect([own, jitter, await left(cache)]).toEqual([own, jitter, 1]);
      await clock.advance(1);
      expect([own, jitter, await left(cache)]).toEqual([own, jitter, 0]);
    }
  },
);

/** How many entries are fresh. */
async function left(cache: Cache): Promise<number> {
  cache.prune();
  return cache.stats().entries;
}

test('sweeps go on while anything is kept, begin with the first entry, and keep no process alive', async () => {
  const clock = new ManualClock();
  let unreferenced = 0;
  let set = 0;
  const watched = {
    now: () => clock.now(),
    setTimeout: (fn: () => void, ms: number) => {
      set++;
      clock.setTimeout(fn, ms);
      return { unref: () => unreferenced++ };
    },
    clearTimeout: () => {},
  };
  const cache = new Cache({ clock: watched, maxItemBytes: 500 });
  await cache.set('too large', 'x'.repeat(1_000));
  expect(set).toBe(0);
  await cache.set('short', 1, { ttlMs: 40_000 });
  await cache.set('long', 1, { ttlMs: 100_000 });
  await clock.advance(90_000);
  expect(cache.stats()).toMatchObject({ entries: 1, expirations: 1 });
  await clock.advance(30_000);
  expect(cache.stats()).toMatchObject({ entries: 0, expirations: 2 });
  await clock.advance(90_000);
  expect([set, unreferenced]).toEqual([4, 4]);
});

test('an entry from a machine whose clock is ahead is of no negative age', async () => {
  const store = new MapStore();
  const storedAt = store.clock.wallNow() + 5_000;
  await new MapTier(store).set('k', { value: 1, storedAt, freshUntil: storedAt + 1_000, keepMs: 60_000, tags: [] });
  const cache = new Cache({ clock: store.clock, remote: new MapTier(store) });
  expect(await cache.lookup('k')).toMatchObject({ ageMs: 0, ttlMs: 1_000 });
});
