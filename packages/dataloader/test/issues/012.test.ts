import { createLoaders, DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

// A key that several requests ask for in one batch weighed as often as it was asked for, and a batch that was full took nobody in
// any more: the next request asked for the same key again.
it.each([
  ['a budget by weight', { maxBatchWeight: 3, weightOf: () => 1 }],
  ['a full batch', { maxBatchSize: 1 }],
])('20 requests for one key ask for it once, with %s', async (_name, options) => {
  const batches: (readonly string[])[] = [];
  const loaders = createLoaders(() => ({
    users: new DataLoader<string, string>(
      async (ids) => {
        batches.push(ids);
        return ids;
      },
      { schedule: { windowMs: 1 }, ...options },
    ),
  }));
  const names = await Promise.all(Array.from({ length: 20 }, () => loaders.for({}).users.load('u1')));
  expect(names).toEqual(new Array(20).fill('u1'));
  expect(batches).toEqual([['u1']]);
});

// A view's hit on a key that the loader itself had been asked for in the same batch waited for a batch of other requests' keys.
it.each([
  ['u1', { value: 'u1' }],
  ['bad', { reason: { message: 'bad' } }],
])("a view's hit on %j waits for no batch of others, whoever asked for the key first", async (id, outcome) => {
  const loaders = createLoaders(() => ({
    users: new DataLoader<string, string>(async ([first]) => {
      if (first === 'slow') await new Promise(() => {});
      return [first === 'bad' ? new Error('bad') : (first as string)];
    }),
  }));
  const view = loaders.for({}).users;
  await Promise.allSettled([loaders.users.load(id), view.load(id)]);
  void loaders.users.load('slow');
  expect(await Promise.allSettled([view.load(id)])).toMatchObject([outcome]);
});
