import { Batcher, DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

// `String(Object.create(null))` throws, and so did the message that should have said what was wrong: a batch function that threw
// such a thing ended in an uncaughtException, and its callers waited for ever.
const noText = (): object => Object.create(null);

it('what has no text can be thrown, given and asked for', async () => {
  const broken = { code: 'ERR_BATCH_RESULT', message: expect.stringContaining('[object Object]') };
  const thrown = noText();
  const throwing = new DataLoader<number, number>(
    () => {
      throw thrown;
    },
    { maxConcurrentBatches: 1 },
  );
  await expect(throwing.load(1)).rejects.toMatchObject({ ...broken, cause: thrown });
  // Its place is free again.
  await expect(throwing.load(1)).rejects.toMatchObject({ code: 'ERR_BATCH_RESULT' });
  expect(throwing.stats().runningBatches).toBe(0);
  await expect(new DataLoader<number, number>(noText as never).load(1)).rejects.toMatchObject(broken);
  const noArray = new DataLoader<number, number>(async () => noText() as number[]);
  await expect(noArray.load(1)).rejects.toMatchObject(broken);
  const tooFew = new DataLoader<object, number>(async () => []);
  await expect(tooFew.load(noText())).rejects.toMatchObject({ code: 'ERR_BATCH_RESULT', keyCount: 1 });
  const lacking = new DataLoader<object, number>(async () => new Map(), { missing: 'error' });
  await expect(lacking.load(noText())).rejects.toMatchObject({ ...broken, code: 'ERR_MISSING_KEY' });
  const batcher = new Batcher<number, number>(async () => noText() as number[], { maxBatchSize: 1 });
  await expect(batcher.submit(1)).rejects.toMatchObject(broken);
});
