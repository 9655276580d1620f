import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

test('a hundred cold callers share one load', async () => {
  const cache = new Cache();
  let loads = 0;
  const results = await Promise.all(
    Array.from({ length: 100 }, () =>
      cache.getOrSet('k', async () => {
        loads++;
        await new Promise((resolve) => setImmediate(resolve));
        return { n: loads };
      }),
    ),
  );
  expect(loads).toBe(1);
  expect(new Set(results).size).toBe(1);
  expect(cache.stats()).toMatchObject({ loads: 1, misses: 1, sharedWaits: 99, hitsMemory: 0 });
  expect(await cache.getOrSet('k', () => 0)).toEqual({ n: 1 });
  expect(cache.stats().hitsMemory).toBe(1);
});

test('a hundred callers share one error, and the first retry after it is a new load', async () => {
  const cache = new Cache();
  let loads = 0;
  const failure = new Error('down');
  const load = async () => {
    loads++;
    await new Promise((resolve) => setImmediate(resolve));
    throw failure;
  };
  const retries: Promise<unknown>[] = [];
  const results = await Promise.allSettled(
    Array.from({ length: 100 }, () =>
      cache.getOrSet('k', load).catch((error: unknown) => {
        retries.push(cache.getOrSet('k', () => 'well again'));
        throw error;
      }),
    ),
  );
  expect(loads).toBe(1);
  expect(results.every((result) => result.status === 'rejected' && result.reason === failure)).toBe(true);
  expect(await Promise.all(retries)).toEqual(Array.from({ length: 100 }, () => 'well again'));
  expect(cache.stats()).toMatchObject({ loads: 2, loadFailures: 1 });
});

test('a loader that throws at once, or answers at once, is a loader like any other', async () => {
  const cache = new Cache();
  await expect(
    cache.getOrSet('k', () => {
      throw new Error('at once');
    }),
  ).rejects.toThrow('at once');
  expect(await cache.getOrSet('k', () => 1)).toBe(1);
});

test('one caller may leave; the load is aborted only when the last has gone', async () => {
  const cache = new Cache();
  const first = new AbortController();
  const second = new AbortController();
  let signal: AbortSignal | undefined;
  let loads = 0;
  const load = ({ signal: shared }: { signal: AbortSignal }) => {
    signal = shared;
    loads++;
    return new Promise<string>((resolve) => shared.addEventListener('abort', () => resolve('too late')));
  };
  const one = cache.getOrSet('k', load, { signal: first.signal });
  const two = cache.getOrSet('k', load, { signal: second.signal });
  first.abort(new Error('first left'));
  await expect(one).rejects.toThrow('first left');
  expect(signal?.aborted).toBe(false);
  second.abort(new Error('second left'));
  await expect(two).rejects.toThrow('second left');
  expect(signal?.aborted).toBe(true);
  expect(await cache.getOrSet('k', () => 'new')).toBe('new');
  expect(loads).toBe(1);
  expect(cache.stats().loadFailures).toBe(0);
  expect(cache.peek('k')).toBe('new');
});

test('a caller without a signal keeps the load alive', async () => {
  const cache = new Cache();
  const caller = new AbortController();
  let finish: (value: string) => void = () => {};
  let shared: AbortSignal | undefined;
  const load = ({ signal }: { signal: AbortSignal }) => {
    shared = signal;
    return new Promise<string>((resolve) => {
      finish = resolve;
    });
  };
  const leaving = cache.getOrSet('k', load, { signal: caller.signal });
  const staying = cache.getOrSet('k', load);
  caller.abort();
  await expect(leaving).rejects.toBe(caller.signal.reason);
  expect(shared?.aborted).toBe(false);
  finish('done');
  expect(await staying).toBe('done');
});

test('a caller who is aborted already runs nothing, even where there is a value', async () => {
  const cache = new Cache();
  await cache.set('k', 1);
  const signal = AbortSignal.abort(new Error('gone'));
  await expect(cache.getOrSet('k', () => 2, { signal })).rejects.toThrow('gone');
  await expect(cache.getOrSet('other', () => 2, { signal })).rejects.toThrow('gone');
  expect(cache.stats().loads).toBe(0);
});

test('the load runs in the context in which the cache was built, not in its first caller’s', async () => {
  const storage = new AsyncLocalStorage<string>();
  const cache = storage.run('owner', () => new Cache());
  const seen = await storage.run('caller', () => cache.getOrSet('k', async () => storage.getStore()));
  expect(seen).toBe('owner');
});

test('a load that takes longer than loadTimeoutMs rejects, its signal is aborted, and what it returns is thrown away', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ loadTimeoutMs: 100, clock });
  let signal: AbortSignal | undefined;
  let finish: (value: string) => void = () => {};
  const call = cache.getOrSet('k', ({ signal: shared }) => {
    signal = shared;
    return new Promise<string>((resolve) => {
      finish = resolve;
    });
  });
  const failed = expect(call).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  await clock.advance(100);
  await failed;
  expect(signal?.aborted).toBe(true);
  finish('late');
  await clock.advance(0);
  expect(cache.peek('k')).toBeUndefined();
  expect(cache.stats()).toMatchObject({ loadFailures: 1, entries: 0 });
  expect(clock.pendingTimers).toBe(0);
});

test('a long-lived signal is not left with listeners', async () => {
  const cache = new Cache();
  const { signal } = new AbortController();
  for (let n = 0; n < 20; n++) {
    await cache.getOrSet(`k${n}`, async () => n, { signal });
    await cache.getOrSet(`bad${n}`, () => Promise.reject(new Error('x')), { signal }).catch(() => {});
  }
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});
