import { Batcher } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';

// A queue that takes fewer items than a batch refused further ones, and kept its own for the rest of their window, while nothing was
// being written.
it('a full queue is written at once, and takes the next items', async () => {
  const clock = new ManualClock();
  const batches: (readonly number[])[] = [];
  const batcher = new Batcher<number>(async (items) => void batches.push(items), {
    clock,
    maxQueued: 3,
    windowMs: 1_000,
  });
  const writes = [1, 2, 3, 4].map((item) => batcher.submit(item));
  expect(batches).toEqual([[1, 2, 3]]);
  await Promise.all(writes.slice(0, 3));
  await clock.advance(999);
  expect(batches).toHaveLength(1);
  await clock.advance(1);
  await Promise.all(writes);
  expect(batches).toEqual([[1, 2, 3], [4]]);
});

it('what filled the queue while a batch was being written goes as soon as that has ended', async () => {
  const releases: (() => void)[] = [];
  const sizes: number[] = [];
  const batcher = new Batcher<number>(
    (items) => {
      sizes.push(items.length);
      return new Promise((resolve) => releases.push(resolve));
    },
    { clock: new ManualClock(), maxQueued: 2 },
  );
  const writes = [1, 2, 3, 4].map((item) => batcher.submit(item));
  await expect(batcher.submit(5)).rejects.toMatchObject({ code: 'ERR_OVERLOADED' });
  releases[0]?.();
  await Promise.all(writes.slice(0, 2));
  await batcher.onRoom();
  expect(sizes).toEqual([2, 2]);
  releases[1]?.();
  await Promise.all(writes);
});
