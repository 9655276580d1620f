import { Cache, type RemoteEntry, type RemoteTier } from '@x/cache';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

test('close refuses what is new, waits for the loads that run, and lets go of everything', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock, name: 'users' });
  await cache.set('k', 1);
  let finish: () => void = () => {};
  const running = cache.getOrSet(
    'slow',
    () =>
      new Promise<string>((resolve) => {
        finish = () => resolve('done');
      }),
  );
  let closed = false;
  const closing = cache.close().then(() => {
    closed = true;
  });
  await clock.advance(0);
  expect(closed).toBe(false);
  for (const refused of [cache.getOrSet('new', () => 1), cache.set('new', 1), cache.get('new')]) {
    await expect(refused).rejects.toMatchObject({ code: 'ERR_CLOSED', message: /"users" is closed/ });
  }
  finish();
  await closing;
  expect(await running).toBe('done');
  expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
  expect(clock.pendingTimers).toBe(0);
  await cache.close();
  await cache[Symbol.asyncDispose]();
});

test('after timeoutMs the loads that still run are aborted', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock });
  const running = cache.getOrSet(
    'k',
    ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  );
  const rejected = expect(running).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  const closing = cache.close({ timeoutMs: 500 });
  await clock.advance(500);
  await rejected;
  await closing;
});

test.each<[string, number | undefined, number]>([
  ['after timeoutMs', 500, 500],
  ['after ten seconds unless told otherwise', undefined, 10_000],
  ['at once if timeoutMs is 0', 0, 0],
])(
  '%s the callers of loaders that ignore their signal are rejected, and waited for no longer',
  async (_, timeoutMs, ms) => {
    const clock = new ManualClock();
    const cache = new Cache({ clock, staleIfErrorMs: 60_000, loadTimeoutMs: 3_600_000 });
    const deaf = () => new Promise<never>(() => {});
    const outcomes: unknown[] = [];
    const heard = (error: unknown) => outcomes.push((error as { code?: unknown }).code);
    cache.getOrSet('k', deaf).catch(heard);
    cache.getOrSet('k', deaf, { signal: new AbortController().signal }).catch(heard);
    // The first load goes on for its callers when the second takes its place.
    await cache.delete('k');
    cache.getOrSet('k', deaf).catch(heard);
    const many = cache.getOrSetMany(['a', 'b'], deaf);
    let closed = false;
    const closing = cache.close({ timeoutMs }).then(() => {
      closed = true;
    });
    if (ms > 0) {
      await clock.advance(ms - 1);
      expect({ closed, outcomes }).toEqual({ closed: false, outcomes: [] });
      await clock.advance(1);
    } else await clock.advance(0);
    expect({ closed, outcomes }).toEqual({ closed: true, outcomes: ['ERR_CLOSED', 'ERR_CLOSED', 'ERR_CLOSED'] });
    expect(await many).toMatchObject([{ code: 'ERR_CLOSED' }, { code: 'ERR_CLOSED' }]);
    await closing;
    expect(cache.stats().loadFailures).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  },
);

test('what a load finds stale while the cache closes is served, but not refreshed any more', async () => {
  const clock = new ManualClock();
  let answer: (entry: RemoteEntry) => void = () => {};
  const remote = new Proxy({ leaseMs: 5_000 } as RemoteTier, {
    get: (target, method) => {
      if (method === 'leaseMs') return target.leaseMs;
      if (method === 'subscribe') return undefined;
      if (method === 'lease') return async () => ({ state: 'unavailable' });
      if (method !== 'get') return async () => undefined;
      return () =>
        new Promise<RemoteEntry>((resolve) => {
          answer = resolve;
        });
    },
  });
  const cache = new Cache({ clock, remote, staleWhileRevalidateMs: 60_000 });
  let loads = 0;
  const found = cache.getOrSet('k', () => ++loads);
  const closing = cache.close();
  answer({ value: 'stale', storedAt: clock.wallNow() - 2, freshUntil: clock.wallNow() - 1, tags: [], version: 'v' });
  expect(await found).toBe('stale');
  await closing;
  expect(loads).toBe(0);
  expect(clock.pendingTimers).toBe(0);
});

test('without end means without a timer', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock });
  let finish: (value: string) => void = () => {};
  const running = cache.getOrSet(
    'k',
    () =>
      new Promise<string>((resolve) => {
        finish = resolve;
      }),
  );
  const closing = cache.close({ timeoutMs: Number.POSITIVE_INFINITY });
  expect(clock.pendingTimers).toBe(0);
  await clock.advance(3_600_000);
  finish('done');
  expect(await running).toBe('done');
  await closing;
});

test.each([-1, Number.NaN, 2 ** 31, null, '5s'])(
  'a timeoutMs of %s is refused, and the cache stays open',
  async (timeoutMs) => {
    const cache = new Cache();
    expect(() => cache.close({ timeoutMs: timeoutMs as number })).toThrow(
      /@x\/cache: close\(\{ timeoutMs \}\) must be/,
    );
    await cache.set('k', 1);
    expect(await cache.get('k')).toBe(1);
    await cache.close();
  },
);

test('a listener that throws breaks nothing, and one that was removed hears nothing', async () => {
  const cache = new Cache();
  const heard: string[] = [];
  cache.on('load', () => {
    throw new Error('listener');
  });
  const off = cache.on('load', ({ key }) => heard.push(key));
  expect(await cache.getOrSet('a', () => 1)).toBe(1);
  off();
  await cache.getOrSet('b', () => 1);
  expect(heard).toEqual(['a']);
});
