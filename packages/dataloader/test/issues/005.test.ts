import { Batcher } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';

// `flush()` resolved when nothing waited or was being written any more: under a load that never pauses, never.
it('flush() resolves when what was there has been written, however much comes after it', async () => {
  const clock = new ManualClock();
  const releases: (() => void)[] = [];
  const batcher = new Batcher<number>(() => new Promise((resolve) => releases.push(resolve)), {
    clock,
    maxBatchSize: 2,
    windowMs: 1_000,
  });
  const writes = [1, 2, 3].map((item) => batcher.submit(item));
  let flushed = 0;
  let idle = false;
  void batcher.flush().then(() => {
    flushed = 1;
  });
  void batcher.onIdle().then(() => {
    idle = true;
  });
  writes.push(batcher.submit(4), batcher.submit(5));
  void batcher.flush().then(() => {
    flushed = 2;
  });
  releases[0]?.();
  await clock.advance(0);
  // The third item is being written now, with the fourth, and the fifth waits behind them.
  expect([releases.length, flushed]).toEqual([2, 0]);
  releases[1]?.();
  await clock.advance(0);
  expect([releases.length, flushed, idle]).toEqual([3, 1, false]);
  releases[2]?.();
  await Promise.all(writes);
  await clock.advance(0);
  expect([flushed, idle, clock.pendingTimers]).toEqual([2, true, 0]);
  await batcher.flush();
});

it('nor does it wait for what left', async () => {
  const clock = new ManualClock();
  const releases: (() => void)[] = [];
  const batcher = new Batcher<number>(() => new Promise((resolve) => releases.push(resolve)), {
    clock,
    maxBatchSize: 1,
  });
  const running = batcher.submit(1);
  const controller = new AbortController();
  const leaving = batcher.submit(2, { signal: controller.signal });
  const staying = batcher.submit(3);
  const flushed = batcher.flush();
  controller.abort('left');
  await expect(leaving).rejects.toBe('left');
  releases[0]?.();
  await running;
  await clock.advance(0);
  releases[1]?.();
  await Promise.all([staying, flushed]);
});
