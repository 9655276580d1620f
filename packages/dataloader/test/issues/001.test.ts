import { Batcher, DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

// Node fires a timer of more than 2^31 - 1 ms at once: a batch with a time-out of a month timed out in the same turn.
const TOO_LONG = 2 ** 31;

it.each<[string, () => unknown]>([
  ['batchTimeoutMs', () => new DataLoader<number, number>(async (keys) => keys, { batchTimeoutMs: TOO_LONG })],
  ['windowMs', () => new DataLoader<number, number>(async (keys) => keys, { schedule: { windowMs: TOO_LONG } })],
  [
    'maxWaitMs',
    () => new DataLoader<number, number>(async (k) => k, { schedule: { windowMs: 1, maxWaitMs: TOO_LONG } }),
  ],
  ['windowMs', () => new Batcher<number>(async () => {}, { windowMs: TOO_LONG })],
  ['batchTimeoutMs', () => new Batcher<number>(async () => {}, { batchTimeoutMs: TOO_LONG })],
])('%s that no timer can wait is refused', (option, make) => {
  expect(make).toThrow(new RegExp(`${option} must be at most 2147483647 milliseconds, got 2147483648`));
});

it('a batcher is not closed with a time-out that no timer can wait, and goes on', async () => {
  const batcher = new Batcher<number, number>(async (items) => items, { windowMs: 1 });
  await expect(batcher.close({ timeoutMs: TOO_LONG })).rejects.toThrow(RangeError);
  await expect(batcher.submit(1)).resolves.toBe(1);
  await batcher.close();
});

it('a time to live needs no timer and may be longer', async () => {
  const loader = new DataLoader<number, number>(async (keys) => keys, { ttlMs: TOO_LONG });
  await expect(loader.load(1)).resolves.toBe(1);
});
