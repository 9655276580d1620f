import { DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

const never = (promise: Promise<unknown>) =>
  Object.assign(promise, {
    // biome-ignore lint/suspicious/noThenProperty: that is what is tested
    then() {
      throw new Error('replaced');
    },
  });

async function withOneKept<Options extends { orderedHits?: boolean }>(options: Options) {
  const loader = new DataLoader<number, number>(async (keys) => keys, options);
  await loader.loadMany([1, 2, 3]);
  return loader;
}

// Other hits of the same batch waited behind the promise of the first, by its `then`: who put something else there, as code
// that traces promises does, broke the loads of others. So did loads with a signal and `loadMany` of a promise that is shared.
it('what a caller does to the promise of a hit does not reach other hits', async () => {
  const loader = await withOneKept({});
  never(loader.load(1));
  expect(await Promise.all([loader.load(2), loader.load(3)])).toEqual([2, 3]);
  for (const orderedHits of [true, false]) {
    const shared = await withOneKept({ orderedHits });
    never(shared.load(1));
    expect(await shared.load(1, { signal: new AbortController().signal })).toBe(1);
    never(shared.load(2));
    expect(await shared.loadMany([2, 3])).toEqual([2, 3]);
  }
});
