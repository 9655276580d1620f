import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

test('within staleWhileRevalidateMs the stale value is served at once while one load refreshes it', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleWhileRevalidateMs: 500, clock });
  await cache.set('k', 'old');
  await clock.advance(1_499);
  const refresh = deferred<string>();
  let loads = 0;
  const load = () => {
    loads++;
    return refresh.promise;
  };
  expect(await Promise.all([cache.getOrSet('k', load), cache.getOrSet('k', load)])).toEqual(['old', 'old']);
  expect(await cache.getOrSetEntry('k', load)).toMatchObject({ value: 'old', stale: true, ttlMs: 0, ageMs: 1_499 });
  expect(await cache.get('k')).toBeUndefined();
  expect(loads).toBe(1);
  refresh.resolve('new');
  await clock.advance(0);
  expect(cache.peek('k')).toBe('new');
  expect(cache.stats()).toMatchObject({ staleServed: 3, loads: 1, misses: 1 });
});

test('behind that window callers wait for the load', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleWhileRevalidateMs: 500, clock });
  await cache.set('k', 'old');
  await clock.advance(1_500);
  expect(await cache.getOrSet('k', () => 'new')).toBe('new');
});

test('a refresh in the background that fails is nobody’s exception, and is tried again', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleWhileRevalidateMs: 500, clock });
  const failures: unknown[] = [];
  cache.on('loadFailure', ({ error }) => failures.push(error));
  await cache.set('k', 'old');
  await clock.advance(1_000);
  const down = new Error('down');
  expect(await cache.getOrSet('k', () => Promise.reject(down))).toBe('old');
  await clock.advance(0);
  expect(failures).toEqual([down]);
  expect(await cache.getOrSet('k', () => 'new')).toBe('old');
  await clock.advance(0);
  expect(await cache.getOrSet('k', () => 'newer')).toBe('new');
});

test('a refresh is not aborted because the caller that started it has gone', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleWhileRevalidateMs: 500, clock });
  await cache.set('k', 'old');
  await clock.advance(1_000);
  const caller = new AbortController();
  const refresh = deferred<string>();
  expect(await cache.getOrSet('k', () => refresh.promise, { signal: caller.signal })).toBe('old');
  caller.abort();
  refresh.resolve('new');
  await clock.advance(0);
  expect(cache.peek('k')).toBe('new');
});

test('within staleIfErrorMs a failed load gives the stale value, behind it the error', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleIfErrorMs: 5_000, clock });
  await cache.set('k', 'old');
  await clock.advance(5_999);
  const fail = () => Promise.reject(new Error('down'));
  expect(await cache.getOrSet('k', fail)).toBe('old');
  expect(await cache.getOrSetEntry('k', fail)).toMatchObject({ value: 'old', stale: true });
  expect(cache.stats()).toMatchObject({ staleServed: 2, loadFailures: 2 });
  await clock.advance(1);
  await expect(cache.getOrSet('k', fail)).rejects.toThrow('down');
});

test('a load that times out is covered too', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleIfErrorMs: 5_000, loadTimeoutMs: 100, clock });
  await cache.set('k', 'old');
  await clock.advance(1_000);
  const call = cache.getOrSet('k', () => new Promise<string>(() => {}));
  await clock.advance(100);
  expect(await call).toBe('old');
});

test('both windows can be an entry’s own', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, clock });
  await cache.getOrSet('k', () => 'old', { ttlMs: 10, staleIfErrorMs: 100 });
  await clock.advance(50);
  expect(await cache.getOrSet('k', () => Promise.reject(new Error('down')))).toBe('old');
  await cache.set('k', 'set', { ttlMs: 10, staleWhileRevalidateMs: 100 });
  await clock.advance(50);
  expect(await cache.getOrSet('k', () => 'new')).toBe('set');
});

test('what was deleted is not served stale', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleIfErrorMs: 5_000, staleWhileRevalidateMs: 5_000, clock });
  await cache.set('k', 'old');
  await clock.advance(1_000);
  await cache.delete('k');
  await expect(cache.getOrSet('k', () => Promise.reject(new Error('down')))).rejects.toThrow('down');
});

test('what is expired begins its stale windows then', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 10_000, staleWhileRevalidateMs: 500, clock });
  await cache.set('k', 'old');
  await cache.expire('k');
  await clock.advance(499);
  expect(await cache.getOrSet('k', () => 'new')).toBe('old');
  await clock.advance(0);
  expect(cache.peek('k')).toBe('new');
});
