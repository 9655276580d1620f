import { Batcher } from '@x/dataloader';
import { expect, it } from 'vitest';

// An item whose `signal` was none was counted as submitted though it was refused: what had been submitted never came to what was written,
// failed and aborted.
it('what is refused for its signal is not counted', async () => {
  const batcher = new Batcher<number>(async () => {}, { maxBatchSize: 1 });
  await expect(batcher.submit(1, { signal: {} as AbortSignal })).rejects.toThrow(TypeError);
  await batcher.submit(2);
  expect(batcher.stats()).toMatchObject({ submitted: 1, written: 1, queued: 0 });
});

it.each([[null], [5], ['5 ms']])('a batcher with the options %j is told what is wrong', (options) => {
  expect(() => new Batcher(async () => {}, options as never)).toThrow(/@x\/dataloader: options must be an object, got/);
});
