import { validateBatch } from '@x/dataloader';
import { type } from 'arktype';
import { expect, it } from 'vitest';

// A path that is an array of a class of its own came out as one of that class, and the empty path of arktype as [0].
it('an error has its path as a plain array, and that of the item itself is empty', async () => {
  const { errors } = await validateBatch(['x', { id: 'y' }], type({ id: 'number' }));
  expect(errors.map(({ index, path }) => [index, path])).toStrictEqual([
    [0, []],
    [1, ['id']],
  ]);
  for (const { path } of errors) expect(path.constructor).toBe(Array);
});
