import { DataLoader, type DataLoaderOptions } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

function weighing(options: DataLoaderOptions<number, number>) {
  const batches: (readonly number[])[] = [];
  const loader = new DataLoader<number, number>(
    async (keys) => {
      batches.push(keys);
      return keys;
    },
    { weightOf: (key) => Math.floor(key), ...options },
  );
  return { loader, batches };
}

describe('maxBatchWeight', () => {
  it('begins another batch where a key would make the open one too heavy', async () => {
    const { loader, batches } = weighing({ maxBatchWeight: 10 });
    expect(await loader.loadMany([4, 6, 1, 9.5, 0.5, 2])).toEqual([4, 6, 1, 9.5, 0.5, 2]);
    expect(batches).toEqual([
      [4, 6],
      [1, 9.5],
      [0.5, 2],
    ]);
  });

  it('lets a key that is too heavy by itself go alone', async () => {
    const { loader, batches } = weighing({ maxBatchWeight: 10 });
    await loader.loadMany([1, 50, 2]);
    expect(batches).toEqual([[1], [50], [2]]);
  });

  it('goes with maxBatchSize, and a key that is cached weighs nothing', async () => {
    const { loader, batches } = weighing({ maxBatchWeight: 10, maxBatchSize: 3 });
    await loader.loadMany([1, 1.5, 1.75, 9, 9, 9, 1]);
    expect(batches).toEqual([[1, 1.5, 1.75], [9]]);
  });

  it('does not keep a full batch for the rest of its window', async () => {
    const clock = new ManualClock();
    const { loader, batches } = weighing({ maxBatchWeight: 10, schedule: { windowMs: 1_000 }, clock });
    expect(await Promise.all([loader.load(10)])).toEqual([10]);
    const two = loader.load(8);
    void loader.load(3);
    expect(await two).toBe(8);
    expect(batches).toEqual([[10], [8]]);
    await clock.advance(1_000);
    expect(batches).toEqual([[10], [8], [3]]);
  });

  it('never exceeds the budget with more than one key, and asks for every key once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 0, max: 15 })), async (keys) => {
        const { loader, batches } = weighing({ maxBatchWeight: 12, maxBatchSize: 4 });
        expect(await loader.loadMany(keys)).toEqual(keys);
        expect(batches.flat()).toEqual(keys);
        for (const batch of batches) {
          expect(batch.length).toBeLessThanOrEqual(4);
          if (batch.length > 1) expect(batch.reduce((sum, key) => sum + key, 0)).toBeLessThanOrEqual(12);
        }
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    [{ maxBatchWeight: 0 }, RangeError],
    [{ maxBatchWeight: Number.NaN }, RangeError],
    [{ maxBatchWeight: undefined }, TypeError],
    [{ maxBatchWeight: 1, weightOf: undefined }, TypeError],
    [{ maxBatchWeight: 1, weightOf: 7 as never }, RangeError],
  ])('%j is refused', (options, kind) => {
    expect(() => weighing(options)).toThrow(kind);
  });

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, '3'])(
    'a key that weighs %s is refused, and alone',
    async (weight) => {
      const { loader, batches } = weighing({
        maxBatchWeight: 10,
        weightOf: (key) => (key === 2 ? (weight as number) : 1),
      });
      const one = loader.load(1);
      expect(() => loader.load(2)).toThrow(/weightOf\(key\) must be a finite number >= 0/);
      expect(await Promise.all([one, loader.load(3)])).toEqual([1, 3]);
      expect(batches).toEqual([[1, 3]]);
    },
  );
});
