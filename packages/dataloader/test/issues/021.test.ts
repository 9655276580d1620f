import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type BatchEvent, Batcher, channelNames, type JoinEvent } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';

// Of a batch of writes it was told that it had waited 0 ms, however long that was.
it('a batch of writes tells how long its first item has waited', async () => {
  const clock = new ManualClock();
  const waits: number[] = [];
  const batcher = new Batcher<number>(async () => {}, {
    windowMs: 10,
    clock,
    onBatch: ({ waitMs }) => waits.push(waitMs),
  });
  const controller = new AbortController();
  const writes = [batcher.submit(1, { signal: controller.signal }).catch(() => {})];
  await clock.advance(3);
  writes.push(batcher.submit(2));
  await clock.advance(2);
  controller.abort();
  await clock.advance(5);
  await Promise.all(writes);
  expect(waits).toEqual([7]);
});

// And who listened to joins alone was not told that a write had joined a batch.
it('a listener to joins alone hears of writes, each in the context of its caller', async () => {
  const caller = new AsyncLocalStorage<string>();
  const joins: unknown[] = [];
  const note = (message: unknown) => {
    const { key, batch } = message as JoinEvent;
    joins.push([key, caller.getStore(), (batch satisfies BatchEvent).kind]);
  };
  subscribe(channelNames.join, note);
  try {
    const batcher = new Batcher<number>(async () => {}, { maxBatchSize: 2 });
    await Promise.all([caller.run('a', () => batcher.submit(1)), caller.run('b', () => batcher.submit(2))]);
  } finally {
    unsubscribe(channelNames.join, note);
  }
  expect(joins).toEqual([
    [1, 'a', 'write'],
    [2, 'b', 'write'],
  ]);
});
