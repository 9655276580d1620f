import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';

// Everything that means something to us, to Redis, or to a regular expression.
const text = fc.string({
  unit: fc.constantFrom('a', 'b', ':', '*', '\\', '?', '[', ']', '^', '-', '.', 'é'),
  maxLength: 6,
});
const key = text.filter((value) => value !== '');
const pattern = fc
  .array(fc.oneof(text.map(escaped), fc.constant('*')), { minLength: 1, maxLength: 5 })
  .map((pieces) => pieces.join(''))
  .filter((value) => value !== '');

function escaped(value: string): string {
  return value.replace(/[\\*]/g, '\\$&');
}

/** The same pattern as a regular expression. */
function expression(value: string): RegExp {
  const source = value.replace(/\\([\s\S])|\*|[\s\S]/g, (match, literal?: string) =>
    match === '*' ? '.*' : (literal ?? match).replace(/[\\^$.*+?()[\]{}|-]/g, '\\$&'),
  );
  return new RegExp(`^${source}$`, 's');
}

test('a pattern deletes what it matches in memory, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(key, { maxLength: 20, size: 'max' }), pattern, async (keys, value) => {
      const cache = new Cache();
      for (const each of keys) await cache.set(each, 1);
      await cache.deleteByPattern(value);
      const left = keys.filter((each) => cache.peek(each) !== undefined);
      expect(left).toEqual(keys.filter((each) => !expression(value).test(each)));
    }),
    { numRuns: 300 },
  );
});

test('head and tail of a pattern do not overlap', async () => {
  const cache = new Cache();
  await cache.set('aba', 1);
  expect(await cache.deleteByPattern('ab*ba')).toBe(0);
  expect(await cache.deleteByPattern('ab*a')).toBe(1);
});

test('Redis understands a pattern as memory does', async () => {
  const service = await startRedis();
  const client = new Redis(service.url);
  try {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { maxLength: 20, size: 'max' }), pattern, async (keys, value) => {
        await client.flushall();
        const tier = new RedisTier({ client, prefix: 'p?[' });
        if (keys.length > 0) await client.mset(keys.flatMap((each) => [`p?[${each}`, 'x']));
        await tier.deleteByPattern(value);
        const left = new Set(await client.keys('*'));
        expect(keys.filter((each) => left.has(`p?[${each}`))).toEqual(
          keys.filter((each) => !expression(value).test(each)),
        );
      }),
      { numRuns: 60 },
    );
  } finally {
    client.disconnect();
    await service[Symbol.asyncDispose]();
  }
});
