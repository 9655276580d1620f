import { Cache } from '@x/cache';
import { responseCacheStore } from '@x/cache/mcp';
import { afterEach, expect, test, vi } from 'vitest';

afterEach(() => {
  vi.useRealTimers();
});

test('a cache made while time is faked goes by the fake time', async () => {
  vi.useFakeTimers();
  const cache = new Cache({ ttlMs: 40_000 });
  const gone: string[] = [];
  cache.on('eviction', ({ key }) => gone.push(key));
  await cache.set('k', 1);
  vi.advanceTimersByTime(39_999);
  expect(cache.peek('k')).toBe(1);
  vi.advanceTimersByTime(1);
  expect(cache.peek('k')).toBeUndefined();
  vi.advanceTimersByTime(20_000);
  expect(gone).toEqual(['k']);
  const slow = cache.getOrSet('slow', () => new Promise(() => {}), { loadTimeoutMs: 1_000 });
  vi.advanceTimersByTime(1_000);
  await expect(slow).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
});

test('two caches may go by different times', async () => {
  const real = new Cache({ ttlMs: 3_600_000 });
  vi.useFakeTimers();
  const fake = new Cache({ ttlMs: 3_600_000 });
  for (const cache of [real, fake]) await cache.set('k', 1);
  vi.advanceTimersByTime(3_600_000);
  expect([real.peek('k'), fake.peek('k')]).toEqual([1, undefined]);
});

test('responses of MCP servers end by the fake time too', async () => {
  vi.useFakeTimers();
  const store = responseCacheStore(new Cache());
  const key = { method: 'resources/read', params: '{"uri":"app://x"}' };
  await store.set(key, { value: '{}', expiresAt: Date.now() + 1_000 });
  vi.advanceTimersByTime(999);
  expect(await store.get(key)).toMatchObject({ value: '{}' });
  vi.advanceTimersByTime(1);
  expect(await store.get(key)).toBeUndefined();
});
