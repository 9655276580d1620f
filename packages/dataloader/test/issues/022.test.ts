import { DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

// Batches that waited for a place, and whose batch function then threw at once, were started one inside the other: some thousands of them
// ran out of stack, and all others waited for ever.
it('a batch function that throws at once fails all batches that wait, however many', async () => {
  let release = () => {};
  let calls = 0;
  const loader = new DataLoader<number, number>(
    (keys) => {
      calls += 1;
      if (calls > 1) throw new Error('no connection');
      return new Promise((resolve) => {
        release = () => resolve(keys);
      });
    },
    { maxBatchSize: 1, maxConcurrentBatches: 1 },
  );
  const loads = Promise.allSettled(Array.from({ length: 10_000 }, (_, key) => loader.load(key)));
  await new Promise((resolve) => setImmediate(resolve));
  release();
  expect((await loads).filter(({ status }) => status === 'rejected')).toHaveLength(9_999);
  expect(loader.stats()).toMatchObject({ batchFailures: 9_999, queuedKeys: 0, runningBatches: 0 });
});

// What that loop must not miss: a batch that is asked for while another fails.
it('a batch that is asked for as another fails at once is started', async () => {
  const again: Promise<unknown>[] = [];
  const loader: DataLoader<number, number> = new DataLoader(
    () => {
      throw new Error('no connection');
    },
    {
      maxConcurrentBatches: 1,
      batchScheduleFn: (dispatch) => dispatch(),
      onBatch: () => {
        if (again.length < 3) again.push(loader.load(again.length).catch(() => 'failed'));
      },
    },
  );
  await expect(loader.load(7)).rejects.toMatchObject({ code: 'ERR_BATCH_RESULT' });
  expect(await Promise.all(again)).toEqual(['failed', 'failed', 'failed']);
});
