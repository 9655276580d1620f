import { AsyncResource } from 'node:async_hooks';
import { expect, it } from 'vitest';
import { BatchItem } from '../../src/batch-item.ts';
import { systemClock } from '../../src/clock.ts';
import { WriteBatch } from '../../src/write-batch.ts';

// When all callers of a batch that was being written left, each of them was asked by each whether they had left already. (What
// the same cost while items waited is in item-queue.test.ts: 20,000 aborts took 2.3 s.)
it('the last of many callers ends a batch, and the others ask nobody', async () => {
  let looked = 0;
  const items = Array.from(
    { length: 1_000 },
    (_, i) =>
      new BatchItem<number, void>(
        i,
        0,
        () => {},
        () => {},
        undefined,
      ),
  );
  const watched = new Proxy(items, {
    get(target, property, receiver) {
      looked += 1;
      return Reflect.get(target, property, receiver);
    },
  });
  let signal: AbortSignal | undefined;
  const batch = new WriteBatch<number, void>(watched, {
    write: (_items, context) => {
      signal = context.signal;
      return new Promise(() => {});
    },
    resource: new AsyncResource('test'),
    name: undefined,
    label: 'Batcher',
    batchTimeoutMs: undefined,
    onBatch: undefined,
    clock: systemClock,
    counts: { written: 0, failed: 0, aborted: 0 },
  });
  void batch.run();
  looked = 0;
  for (const item of items.slice(1)) item.batch?.leave('left');
  expect(signal?.aborted).toBe(false);
  batch.leave('last');
  expect(signal?.reason).toBe('last');
  expect(looked).toBe(0);
});
