import { Cache } from '@x/cache';
import { describe, expect, test } from 'vitest';
import { MapStore, MapTier } from '../map-tier.ts';

// getMany and getOrSetMany gave undefined for a kept null as soon as any other key of the batch was missing.

function start(options: { maxItemBytes?: number } = {}, store = new MapStore()) {
  return {
    cache: new Cache({ clock: store.clock, remote: new MapTier(store), scopeSecret: 'a secret for tests', ...options }),
    store,
  };
}

describe.each([
  ['memory', {}],
  ['the remote tier', { maxItemBytes: 1 }],
])('null in %s', (_, options) => {
  test('is read among keys that are missing', async () => {
    const { cache } = start(options);
    await cache.set('none', null);
    expect(await cache.getMany(['missing', 'none', 'none'])).toEqual([undefined, null, null]);
  });

  test('is not loaded again, and stands in its place', async () => {
    const { cache } = start(options);
    await cache.set('none', null);
    const asked: string[] = [];
    const load = (keys: readonly string[]) => {
      asked.push(...keys);
      return keys.map((key) => `loaded ${key}`);
    };
    expect(await cache.getOrSetMany(['none', 'missing', 'none'], load)).toEqual([null, 'loaded missing', null]);
    expect(asked).toEqual(['missing']);
    expect(await cache.scope('s').getOrSetMany(['a', 'b'], () => [null, 1])).toEqual([null, 1]);
    expect(await cache.scope('s').getOrSetMany(['a', 'c'], () => [2])).toEqual([null, 2]);
  });
});
