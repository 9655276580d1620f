import { Batcher, DataLoader } from '@x/dataloader';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

// A result that cannot even be looked at (a draft of immer that was kept is a revoked proxy, a lazy row may throw when it is read) ended
// in an unhandled rejection: its callers, and all after them where batches are limited, waited for ever.
const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);

beforeEach(() => void process.on('unhandledRejection', note));
afterEach(() => void process.off('unhandledRejection', note));

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function readOnce(): ArrayLike<unknown> {
  let reads = 0;
  return {
    length: 2,
    get 0() {
      reads += 1;
      if (reads > 1) throw new TypeError('the row has been revoked');
      return 'first';
    },
    1: 'second',
  };
}

describe.each<[string, () => ArrayLike<unknown>]>([
  ['a revoked proxy', () => ['first', revoked()]],
  ['what can be read once', readOnce],
])('a batch whose results have %s', (_what, results) => {
  it('fails its loads, and the next batch runs', async () => {
    let give = results;
    const loader = new DataLoader<number, unknown>(async () => give(), { maxConcurrentBatches: 1 });
    const failed = { status: 'rejected', reason: { message: expect.stringContaining('revoked') } };
    expect(await Promise.allSettled([loader.load(1), loader.load(2)])).toMatchObject([failed, failed]);
    expect(loader.stats()).toMatchObject({ batchFailures: 1, runningBatches: 0 });
    give = () => ['new', 'newer'];
    expect(await Promise.all([loader.load(1), loader.load(2)])).toEqual(['new', 'newer']);
    expect(unhandled).toEqual([]);
  });
});

it('a batch of writes whose results have a revoked proxy fails for its callers, and the next one is written', async () => {
  let give: () => ArrayLike<unknown> = () => ['first', revoked()];
  const batcher = new Batcher<number, unknown>(async () => give(), { maxBatchSize: 2 });
  const failed = { status: 'rejected', reason: { message: expect.stringContaining('revoked') } };
  expect(await Promise.allSettled([batcher.submit(1), batcher.submit(2)])).toMatchObject([failed, failed]);
  give = readOnce;
  expect(await Promise.all([batcher.submit(3), batcher.submit(4)])).toEqual(['first', 'second']);
  expect(batcher.stats()).toMatchObject({ written: 2, failed: 2, runningBatches: 0 });
  expect(unhandled).toEqual([]);
});
