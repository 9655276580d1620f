import { Cache } from '@x/cache';
import { describe, expect, test } from 'vitest';
import { MapStore, MapTier } from '../map-tier.ts';

// A caller that was aborted while the remote tier was asked for its many keys, or by its own loader, waited until the load was done; the
// load was begun for nobody.

const left = new Error('left');

describe('a caller of many keys that is aborted while the remote tier is asked', () => {
  function asking() {
    const store = new MapStore();
    let answer: () => void = () => {};
    class Tier extends MapTier {
      override async getMany(keys: readonly string[]) {
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
        return super.getMany(keys);
      }
    }
    const cache = new Cache({ remote: new Tier(store), clock: store.clock });
    return { cache, answer: () => answer() };
  }

  test('gets the reason at once, and nothing is loaded for it', async () => {
    const { cache, answer } = asking();
    const caller = new AbortController();
    let loads = 0;
    const load = (keys: readonly string[]) => {
      loads++;
      return keys;
    };
    const many = cache.getOrSetMany(['a', 'b'], load, { signal: caller.signal });
    caller.abort(left);
    await expect(many).rejects.toBe(left);
    answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(loads).toBe(0);
    expect(cache.stats().loads).toBe(0);
  });

  test('leaves what the remote tier has in memory', async () => {
    const { cache, answer } = asking();
    await cache.set('a', 1);
    await cache.set('b', 2);
    const caller = new AbortController();
    const many = cache.getOrSetMany(['a', 'b', 'c'], (keys) => keys.map(() => 3), { signal: caller.signal });
    caller.abort(left);
    await expect(many).rejects.toBe(left);
    answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect([cache.peek('a'), cache.peek('b'), cache.peek('c')]).toEqual([1, 2, undefined]);
  });
});

test('a caller whose own loader aborts it leaves at once', async () => {
  const cache = new Cache();
  const caller = new AbortController();
  let shared: AbortSignal | undefined;
  const load = ({ signal }: { signal: AbortSignal }) => {
    shared = signal;
    caller.abort(left);
    return new Promise(() => {});
  };
  await expect(cache.getOrSet('k', load, { signal: caller.signal })).rejects.toBe(left);
  expect(shared?.aborted).toBe(true);
});
