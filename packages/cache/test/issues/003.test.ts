import { Cache } from '@x/cache';
import { expect, test } from 'vitest';

// In a scope whatever was added to its prefix became a key: `undefined` and 'undefined', any object and '[object Object]'.

const wrong: [string, unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['a number', 7],
  ['an object', {}],
  ['a symbol', Symbol('s')],
  ['an empty string', ''],
];

test.each(wrong)('%s is no key in a scope either', async (_, value) => {
  const scope = new Cache().scope('ann');
  const key = value as string;
  await expect(scope.set(key, 1)).rejects.toThrow(/key must/);
  await expect(scope.getOrSet(key, () => 1)).rejects.toThrow(/key must/);
  await expect(scope.getOrSetEntry(key, () => 1)).rejects.toThrow(/key must/);
  await expect(scope.get(key)).rejects.toThrow(/key must/);
  await expect(scope.lookup(key)).rejects.toThrow(/key must/);
  await expect(scope.getMany(['k', key])).rejects.toThrow(/key must/);
  await expect(scope.getOrSetMany([key], () => [1])).rejects.toThrow(/key must/);
  await expect(scope.delete([key])).rejects.toThrow(/key must/);
  await expect(scope.expire([key])).rejects.toThrow(/key must/);
  await expect(scope.deleteByTag([key])).rejects.toThrow(/tags must/);
  await expect(scope.deleteByPattern(key)).rejects.toThrow(/pattern must/);
  await expect(scope.set('k', 1, { tags: [key] })).rejects.toThrow(/tags must/);
  expect(scope.peek(key)).toBeUndefined();
});

test('tags that are no list are refused by name', async () => {
  const cache = new Cache();
  for (const where of [cache, cache.scope('ann')]) {
    await expect(where.set('k', 1, { tags: 'abc' as unknown as string[] })).rejects.toThrow(
      /tags must be an array of strings, got 'abc'/,
    );
  }
});

test('very long names of scopes are told apart, and make no long keys', async () => {
  const cache = new Cache();
  const [one, two] = [cache.scope('x'.repeat(1e6)), cache.scope(`${'x'.repeat(1e6)}y`)];
  await one.set('k', 1);
  expect([one.peek('k'), two.peek('k'), cache.scope('x'.repeat(1e6)).peek('k')]).toEqual([1, undefined, 1]);
});
