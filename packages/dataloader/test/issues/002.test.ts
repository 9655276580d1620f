import { createLoaders, DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

it('a key that is asked of a shared loader and of a view of it in one turn is asked for once', async () => {
  const asked: number[][] = [];
  const { users, ...loaders } = createLoaders(() => ({
    users: new DataLoader<number, string>(async (keys) => {
      asked.push([...keys]);
      return keys.map((key) => `user ${key}`);
    }),
  }));
  const view = loaders.for({}).users;
  expect(await Promise.all([users.load(1), view.load(1), view.load(2), users.load(2)])).toEqual([
    'user 1',
    'user 1',
    'user 2',
    'user 2',
  ]);
  expect(asked).toEqual([[1, 2]]);
});
