import { Cache } from '@x/cache';
import { expect, test } from 'vitest';

// What was no list, and a listener that is no function, was refused in the words of the engine, later, or not at all.

test.each([5, undefined, null, {}, Symbol('s')])('%s is no list of keys or tags', async (value) => {
  const cache = new Cache();
  const wrong = value as unknown as string[];
  const named = (option: string) => new RegExp(`^@x/cache: ${option} must be an array of strings`);
  await expect(cache.delete(wrong)).rejects.toThrow(named('keys'));
  await expect(cache.expire(wrong)).rejects.toThrow(named('keys'));
  await expect(cache.getMany(wrong)).rejects.toThrow(named('keys'));
  await expect(cache.getOrSetMany(wrong, () => [])).rejects.toThrow(named('keys'));
  await expect(cache.deleteByTag(wrong)).rejects.toThrow(named('tags'));
  await expect(cache.deleteByTag([wrong as unknown as string])).rejects.toThrow(named('tags'));
  await expect(cache.scope('a').delete(wrong)).rejects.toThrow(named('keys'));
  await expect(cache.scope('a').getMany(wrong)).rejects.toThrow(named('keys'));
  await expect(cache.scope('a').deleteByTag(wrong)).rejects.toThrow(named('tags'));
});

test('one name is no list where several are answered', async () => {
  const cache = new Cache();
  await expect(cache.getMany('ab' as unknown as string[])).rejects.toThrow(
    /keys must be an array of strings, got 'ab'/,
  );
  await expect(cache.scope('a').getMany('ab' as unknown as string[])).rejects.toThrow(/keys must be an array/);
});

test('a listener is a function', () => {
  expect(() => new Cache().on('hit', 5 as unknown as () => void)).toThrow(
    '@x/cache: listener must be a function, got 5',
  );
});
