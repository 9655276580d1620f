import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { DataLoader, type DataLoaderOptions } from '@x/dataloader';
import { describe, expect, it } from 'vitest';

// Memory that is used and memory that is not collected yet look alike.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

interface Row {
  id: number;
}

describe.each<[string, DataLoaderOptions<number, Row>]>([
  ['its own cache', {}],
  ['unordered hits', { orderedHits: false }],
  ['a cacheMap', { cacheMap: new Map() }],
  ['a bounded cache', { maxEntries: 100 }],
])('a loader with %s', (_name, options) => {
  it('keeps values, and nothing of the batches that gave them', async () => {
    const batches: WeakRef<object>[] = [];
    const rows: WeakRef<object>[] = [];
    const loader = new DataLoader<number, Row>(async (keys, { signal }) => {
      batches.push(new WeakRef(keys), new WeakRef(signal));
      return keys.map((id) => {
        const row = { id };
        rows.push(new WeakRef(row));
        return row;
      });
    }, options);
    await loader.loadMany([1, 2, 3]);
    await loader.loadMany([3, 4]);
    await loader.load(1);
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    expect(batches.filter((ref) => ref.deref() !== undefined)).toEqual([]);
    expect(rows.map((ref) => ref.deref())).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }]);
    // No load comes after it that could push out what the last batch holds.
    loader.clearAll();
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    expect(rows.filter((ref) => ref.deref() !== undefined)).toEqual([]);
  });
});
