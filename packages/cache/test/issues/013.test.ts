import { Cache } from '@x/cache';
import { expect, test } from 'vitest';

// What loadMany answered in place of an array or a Map was an exception that nobody caught, and its callers waited for ever.

test.each([null, undefined, 7, { a: 1, b: 2 }, new Set(['a', 'b'])])(
  'an answer of loadMany that is neither array nor Map (%s) is each key’s error',
  async (answer) => {
    for (const cache of [new Cache(), new Cache().scope('tenant')]) {
      const found = await cache.getOrSetMany(['a', 'b'], () => answer as never);
      const expected = expect.stringContaining("loadMany's answer must be an object with get()");
      expect(found.map((error) => (error as Error).message)).toEqual([expected, expected]);
      expect(await cache.getOrSetMany(['a', 'b'], (keys) => keys)).toEqual(['a', 'b']);
    }
  },
);

test('a Map that throws is each key’s error', async () => {
  const hostile = {
    get: () => {
      throw new Error('not me');
    },
  };
  const found = await new Cache().getOrSetMany(['a', 'b'], () => hostile as unknown as Map<string, number>);
  expect(found.map((error) => (error as Error).message)).toEqual(['not me', 'not me']);
});
