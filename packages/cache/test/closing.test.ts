import { Cache } from '@x/cache';
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
