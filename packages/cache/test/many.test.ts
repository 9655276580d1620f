import { AsyncLocalStorage } from 'node:async_hooks';
import { Cache } from '@x/cache';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

test('getOrSetMany hands each failure to its key alone, and refuses answers that do not add up', async () => {
  const cache = new Cache();
  const down = new Error('down');
  expect(await cache.getOrSetMany(['a', 'b'], () => Promise.reject(down))).toEqual([down, down]);
  const wrong = await cache.getOrSetMany(['a', 'b'], () => [1]);
  expect(wrong).toEqual([expect.any(TypeError), expect.any(TypeError)]);
  expect(await cache.getOrSetMany(['a', 'b'], (keys) => new Map([[keys[0] ?? '', 1]]))).toEqual([1, undefined]);
  expect(cache.peek('a')).toBe(1);
  // A key that someone else loads is waited for, not asked for again.
  const other = cache.getOrSet('c', async () => 'theirs');
  const asked: unknown[] = [];
  const values = await cache.getOrSetMany(['a', 'c', 'd'], async (keys) => {
    asked.push(...keys);
    return keys.map(() => 'ours');
  });
  expect([await other, ...values]).toEqual(['theirs', 1, 'theirs', 'ours']);
  expect(asked).toEqual(['d']);
});

test('the shared load of many keys runs in the cache’s own context, whoever decides last', async () => {
  const storage = new AsyncLocalStorage<string>();
  const cache = storage.run('owner', () => new Cache());
  let fail: () => void = () => {};
  void cache
    .getOrSet('theirs', () => new Promise((_, reject) => (fail = () => reject(new Error('x')))))
    .catch(() => {});
  const seen: unknown[] = [];
  const many = storage.run('caller', () =>
    cache.getOrSetMany(['mine', 'theirs'], (keys) => {
      seen.push(storage.getStore());
      return keys.map(() => 1);
    }),
  );
  await new Promise((resolve) => setImmediate(resolve));
  fail();
  expect(await many).toEqual([1, expect.any(Error)]);
  expect(seen).toEqual(['owner']);
});

test('a caller of many keys leaves at once, and the load is aborted with the last', async () => {
  const cache = new Cache();
  const caller = new AbortController();
  let shared: AbortSignal | undefined;
  const many = cache.getOrSetMany(
    ['a', 'b'],
    (_keys, { signal }) => {
      shared = signal;
      return new Promise(() => {});
    },
    { signal: caller.signal },
  );
  await new Promise((resolve) => setImmediate(resolve));
  caller.abort(new Error('left'));
  await expect(many).rejects.toThrow('left');
  expect(shared?.aborted).toBe(true);
});

test.each([
  ['before the others', 0],
  ['after the batch has left', 50],
])(
  'a refresh in the background that asks %s neither hangs nor splits the batch of what is missing',
  async (_, delayMs) => {
    const store = new MapStore();
    const { clock } = store;
    class Tier extends MapTier {
      override async get(key: string) {
        if (key === 'stale' && delayMs > 0) await new Promise<void>((resolve) => clock.setTimeout(resolve, delayMs));
        return super.get(key);
      }
    }
    const cache = new Cache({ remote: new Tier(store), ttlMs: 1_000, staleWhileRevalidateMs: 60_000, clock });
    await cache.set('stale', 'old');
    await clock.advance(1_500);
    const batches: (readonly string[])[] = [];
    const load = async (keys: readonly string[]) => {
      batches.push(keys);
      return keys.map((key) => `new ${key}`);
    };
    const many = cache.getOrSetMany(['stale', 'a', 'b'], load);
    await clock.advance(10);
    expect(await many).toEqual(['old', 'new a', 'new b']);
    await clock.advance(100);
    expect(cache.peek('stale')).toBe('new stale');
    expect(batches.map((keys) => keys.filter((key) => key !== 'stale'))).toContainEqual(['a', 'b']);
    expect(batches.flat().sort()).toEqual(['a', 'b', 'stale']);
  },
);
