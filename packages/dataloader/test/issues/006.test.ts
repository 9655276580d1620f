import { Batcher } from '@x/dataloader';
import { expect, it } from 'vitest';

// A hole in the results of a batch of writes came out as a success without a result, and one at the end as "no array".
it.each([0, 1, 2])('a batcher refuses a sparse array of results, with the hole at %i', async (hole) => {
  const results = ['a', 'b', 'c'];
  delete results[hole];
  const batcher = new Batcher<number, string>(async () => results, { maxBatchSize: 3, name: 'audit' });
  const outcomes = await Promise.allSettled([1, 2, 3].map((item) => batcher.submit(item)));
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({
      reason: {
        code: 'ERR_BATCH_RESULT',
        message: `Batcher "audit": the batch function gave a sparse array: no result at ${hole}`,
        keyCount: 3,
        valueCount: 3,
      },
    });
  }
});

it('a result that is undefined is one, and an array-like object gives results', async () => {
  const given = new Batcher<number, string | undefined>(async () => [undefined, 'b'], { maxBatchSize: 2 });
  expect(await Promise.all([given.submit(1), given.submit(2)])).toEqual([undefined, 'b']);
  const like = new Batcher<number, string>(async () => ({ 0: 'a', 1: 'b', length: 2 }), { maxBatchSize: 2 });
  expect(await Promise.all([like.submit(1), like.submit(2)])).toEqual(['a', 'b']);
});
