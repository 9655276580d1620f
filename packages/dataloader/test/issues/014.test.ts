import { DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

// A batch that failed was not taken for settled before all had been told of it: when `onBatch` aborted its last caller it ended once more.
it.each([
  ['a failure', async () => Promise.reject(new Error('down'))],
  ['a success', async () => [1]],
])('%s is told of once, also where `onBatch` then aborts the last caller', async (_what, answer) => {
  const controller = new AbortController();
  const outcomes: unknown[] = [];
  const loader = new DataLoader<number, number>(answer, {
    onBatch: ({ outcome }) => {
      outcomes.push(outcome);
      controller.abort('told');
    },
  });
  await expect(loader.load(1, { signal: controller.signal })).rejects.toBe('told');
  await new Promise((resolve) => setImmediate(resolve));
  expect(outcomes).toHaveLength(1);
  expect(loader.stats()).toMatchObject({ batches: 1, runningBatches: 0 });
});
