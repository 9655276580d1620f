import { DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

const sorted = (keys: readonly number[]) => (keys as number[]).sort();

// The keys used to be frozen, which made each loop over them several times slower and sorting them an error even where
// it does no harm.
it('a batch function that sorts its keys and answers by position is told so', async () => {
  const loader = new DataLoader<number, string>(async (keys) => sorted(keys).map((key) => `v${key}`));
  expect(await Promise.allSettled([loader.load(2), loader.load(1)])).toMatchObject([
    { reason: { code: 'ERR_BATCH_RESULT', message: expect.stringContaining('changed or sorted') } },
    { reason: { code: 'ERR_BATCH_RESULT' } },
  ]);
});

it('a batch function that sorts its keys and answers with a Map sends each value to its caller', async () => {
  const loader = new DataLoader<number, string>(async (keys) => new Map(sorted(keys).map((key) => [key, `v${key}`])));
  expect(await Promise.all([loader.load(2), loader.load(1)])).toEqual(['v2', 'v1']);
});

it('one that leaves a key out, or puts another in, is told so', async () => {
  const shorter = new DataLoader<number, number>(async (keys) => {
    (keys as number[]).pop();
    return [1, 2];
  });
  await expect(Promise.all([shorter.load(1), shorter.load(2)])).rejects.toMatchObject({ code: 'ERR_BATCH_RESULT' });
  const other = new DataLoader<number, number>(async (keys) => {
    (keys as number[])[0] = 9;
    return keys;
  });
  await expect(other.load(1)).rejects.toMatchObject({ code: 'ERR_BATCH_RESULT' });
});

it('a key that is not equal to itself has not changed', async () => {
  const loader = new DataLoader<number, number>(async (keys) => keys);
  expect(await Promise.all([loader.load(Number.NaN), loader.load(1)])).toEqual([Number.NaN, 1]);
});
