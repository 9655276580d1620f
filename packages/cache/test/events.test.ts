import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Cache, type CacheEvents } from '@x/cache';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

const names = ['hit', 'miss', 'stale', 'load', 'loadFailure', 'eviction', 'invalidation'] as const;

/** Uses a cache in such a way that everything happens once or more. */
async function live(cache: Cache, clock: ManualClock): Promise<void> {
  await cache.getOrSet('k', () => 1);
  await cache.getOrSet('k', () => 2);
  await cache.get('none');
  await clock.advance(1_000);
  await cache.getOrSet('k', () => Promise.reject(new Error('down')));
  await cache.delete('k');
  await cache.expire(['a', 'b']);
  await cache.deleteByTag('t');
  await cache.deleteByPattern('x*');
  for (const key of ['1', '2', '3']) await cache.set(key, key);
  await cache.clear();
}

const expected: [keyof CacheEvents, object][] = [
  ['miss', { key: 'k' }],
  ['load', { key: 'k', durationMs: 0 }],
  ['hit', { key: 'k', tier: 'memory' }],
  ['miss', { key: 'none' }],
  ['miss', { key: 'k' }],
  ['loadFailure', { key: 'k', error: new Error('down') }],
  ['stale', { key: 'k' }],
  ['invalidation', { kind: 'delete', names: ['k'] }],
  ['invalidation', { kind: 'expire', names: ['a', 'b'] }],
  ['invalidation', { kind: 'tag', names: ['t'] }],
  ['invalidation', { kind: 'pattern', names: ['x*'] }],
  ['eviction', { key: '1', reason: 'capacity' }],
  ['invalidation', { kind: 'clear', names: [] }],
];

function make() {
  const clock = new ManualClock();
  const cache = new Cache({ name: 'mine', ttlMs: 1_000, staleIfErrorMs: 1_000, maxEntries: 2, clock });
  return { cache, clock };
}

test('what happens is told to who listens, in order', async () => {
  const { cache, clock } = make();
  const heard: [string, object][] = [];
  for (const name of names) cache.on(name, (event) => heard.push([name, event]));
  await live(cache, clock);
  expect(heard).toEqual(expected);
});

test('the same is published on node:diagnostics_channel, with the name of the cache, while somebody subscribes', async () => {
  const { cache, clock } = make();
  const heard: [string, object][] = [];
  const hear = (message: unknown, name: string | symbol) => void heard.push([String(name), message as object]);
  for (const name of names) subscribe(`@x/cache:${name}`, hear);
  try {
    await live(cache, clock);
  } finally {
    for (const name of names) unsubscribe(`@x/cache:${name}`, hear);
  }
  expect(heard).toEqual(expected.map(([name, event]) => [`@x/cache:${name}`, { cache: 'mine', ...event }]));
  heard.length = 0;
  const again = make();
  await live(again.cache, again.clock);
  expect(heard).toEqual([]);
  expect(names.some((name) => channel(`@x/cache:${name}`).hasSubscribers)).toBe(false);
});

test('a listener that throws breaks nothing, one that was removed hears nothing, one given twice hears twice', async () => {
  const { cache } = make();
  const heard: string[] = [];
  const hear = ({ key }: { key: string }) => void heard.push(key);
  cache.on('miss', () => {
    throw new Error('listener');
  });
  const stop = cache.on('miss', hear);
  cache.on('miss', hear);
  await cache.get('a');
  stop();
  stop();
  await cache.get('b');
  expect(heard).toEqual(['a', 'a', 'b']);
});

test('every way to read counts and tells', async () => {
  const { cache } = make();
  const heard: string[] = [];
  cache.on('hit', ({ key }) => heard.push(`hit ${key}`));
  cache.on('miss', ({ key }) => heard.push(`miss ${key}`));
  await cache.getOrSetMany(['a', 'b'], (keys) => [...keys]);
  await cache.getMany(['a', 'b', 'c', 'c']);
  await cache.getOrSetEntry('a', () => 1);
  cache.peek('a');
  await cache.lookup('a');
  expect(heard).toEqual(['miss a', 'miss b', 'hit a', 'hit b', 'miss c', 'hit a']);
  expect(cache.stats()).toMatchObject({ hitsMemory: 3, misses: 3, loads: 2 });
});

test('each entry that is taken away counts as one invalidation, and so does each key that is named', async () => {
  const { cache } = make();
  const counted = async (invalidate: () => Promise<unknown>) => {
    await cache.set('a', 1, { tags: ['t'] });
    await cache.set('b', 1, { tags: ['t'] });
    const before = cache.stats().invalidations;
    await invalidate();
    return cache.stats().invalidations - before;
  };
  expect(await counted(() => cache.delete(['a', 'missing']))).toBe(2);
  expect(await counted(() => cache.expire(['a', 'b', 'missing']))).toBe(3);
  expect(await counted(() => cache.deleteByTag('t'))).toBe(2);
  expect(await counted(() => cache.deleteByPattern('a*'))).toBe(1);
  expect(await counted(() => cache.clear())).toBe(2);
  await cache.set('a', 1);
  expect([await cache.delete(['a', 'missing']), await cache.delete(['a', 'missing'])]).toEqual([true, false]);
});

test('a failure of the remote tier is counted and told, and is nobody’s error', async () => {
  class Failing extends MapTier {
    override async get(): Promise<undefined> {
      throw new Error('gone');
    }

    override async delete(): Promise<number> {
      throw new Error('gone');
    }
  }
  const store = new MapStore();
  const cache = new Cache({ clock: store.clock, remote: new Failing(store) });
  const told: unknown[] = [];
  cache.on('remoteFailure', ({ error }) => told.push((error as Error).message));
  expect([await cache.get('k'), await cache.delete('k')]).toEqual([undefined, false]);
  expect(told).toEqual(['gone', 'gone']);
  expect(cache.stats().remoteFailures).toBe(2);
});
