import { createLoaders, DataLoader, type DataLoaderOptions } from '@x/dataloader';
import { expect, it } from 'vitest';

// What a loader of several requests was asked for itself, before the first of them took its view, was not found by that view.
it.each<[string, DataLoaderOptions<number, number>]>([
  ['a cache of its own', {}],
  ['a cacheMap', { cacheMap: new Map() }],
  ['no cache', { cache: false }],
  ['partitions', { partition: () => 'everybody' }],
  ['keys that mean the same', { cacheKeyFn: (key) => key % 10 }],
])(
  'a key is asked for once, though it was asked of the loader before its first view was made, with %s',
  async (_name, options) => {
    const asked: number[][] = [];
    const loaders = createLoaders(() => ({
      it: new DataLoader<number, number>(async (keys) => {
        asked.push([...keys]);
        return keys;
      }, options),
    }));
    const before = [loaders.it.load(1), loaders.it.load(2)];
    const view = loaders.for({}).it;
    const after = [view.load(2), loaders.it.load(3), view.load(3), view.load(1)];
    expect(await Promise.all([...before, ...after])).toEqual([1, 2, 2, 3, 3, 1]);
    expect(asked).toEqual([[1, 2, 3]]);
  },
);
