import { Cache, type CacheOptions } from '@x/cache';
import { RedisTier, type RedisTierOptions } from '@x/cache/redis';
import { expect, test } from 'vitest';

test.each<[CacheOptions, RegExp]>([
  [{ ttlMs: 0 }, /@x\/cache: ttlMs must be a number of milliseconds > 0, got 0/],
  [{ ttlMs: Number.NaN }, /ttlMs .* got NaN/],
  [{ ttlMs: '5m' as unknown as number }, /ttlMs .* got '5m'/],
  [{ maxEntries: 0 }, /maxEntries must be an integer >= 1, got 0/],
  [{ maxEntries: 1.5 }, /maxEntries/],
  [{ maxBytes: -1 }, /maxBytes/],
  [{ jitter: 1.1 }, /jitter must be a number from 0 to 1/],
  [{ staleIfErrorMs: -1 }, /staleIfErrorMs/],
  [{ staleWhileRevalidateMs: -1 }, /staleWhileRevalidateMs/],
  [{ negativeTtlMs: -1 }, /negativeTtlMs/],
  [{ loadTimeoutMs: 0 }, /loadTimeoutMs/],
  [{ policy: 'fifo' as 'lru' }, /policy must be one of 's3-fifo', 'lru', got 'fifo'/],
  [{ copy: 'json' as 'none' }, /copy must be one of/],
  [{ scopeSecret: 'short' }, /scopeSecret/],
])('%j is refused when the cache is made', (options, message) => {
  expect(() => new Cache(options)).toThrow(message);
});

test('an option that is undefined counts as absent', async () => {
  const cache = new Cache({ ttlMs: undefined, maxEntries: undefined, policy: undefined, copy: undefined });
  await cache.getOrSet('k', () => 1, { ttlMs: undefined, tags: undefined, signal: undefined });
  expect(cache.peek('k')).toBe(1);
});

test('wrong options of a call are refused there', async () => {
  const cache = new Cache();
  await expect(cache.set('k', 1, { ttlMs: -1 })).rejects.toThrow(RangeError);
  await expect(cache.getOrSet('k', () => 1, { ttlMs: Number.NaN })).rejects.toThrow(RangeError);
  await expect(cache.getOrSet('k', ({ setTtl }) => setTtl(-1))).rejects.toThrow(RangeError);
  await expect(cache.deleteByPattern('')).rejects.toThrow(TypeError);
  expect(() => cache.wrap(() => 1, { name: '' })).toThrow(TypeError);
});

test.each([
  [{ client: {} }, /client/],
  [{ client: { call() {}, status: 'ready' }, prefix: '' }, /prefix/],
  [{ client: { call() {}, status: 'ready' }, prefix: 'tag|x' }, /prefix/],
  [{ client: { call() {}, status: 'ready' }, leaseMs: 0 }, /leaseMs/],
  [{ client: { call() {}, status: 'ready' }, commandTimeoutMs: -1 }, /commandTimeoutMs/],
])('%j is refused when the tier is made', (options, message) => {
  expect(() => new RedisTier(options as unknown as RedisTierOptions)).toThrow(message);
});
