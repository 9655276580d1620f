import { Batcher, DataLoader, validateBatch } from '@x/dataloader';
import { afterEach, beforeEach, expect, it } from 'vitest';

// Rejections that were left to nobody end the process: of an `onBatch` that is asynchronous, and of the other items of a batch
// of which one makes the validator throw.
const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);

beforeEach(() => void process.on('unhandledRejection', note));
afterEach(() => void process.off('unhandledRejection', note));

it('an asynchronous onBatch may reject without harm', async () => {
  const onBatch = async (): Promise<never> => {
    throw new Error('the tracer is down');
  };
  await new DataLoader<number, number>(async (keys) => keys, { onBatch }).load(1);
  await new Batcher<number>(async () => {}, { onBatch, maxBatchSize: 1 }).submit(1);
  await turn();
  expect(unhandled).toEqual([]);
});

it('a validator that throws for one item and rejects for others fails the call, and nothing else', async () => {
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate(value: unknown): Promise<{ value: unknown }> {
        if (value === 3) throw new Error('sync 3');
        return Promise.reject(new Error(`async ${value}`));
      },
    },
  };
  await expect(validateBatch([1, 2, 3, 4], schema)).rejects.toThrow(/async 1|sync 3/);
  await turn();
  expect(unhandled).toEqual([]);
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
