import { ConcurrencyLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';

// What ended without having done its work (a wrong argument that fails at once, a caller that left) counted as how long work
// takes: thirty bad calls in a row, and work was begun that could not end before its deadline.

/** One permit, and ten calls behind it that took 20 ms. */
async function setUp() {
  const time = { now: 0 };
  const clock = { now: () => time.now, setTimeout: () => undefined, clearTimeout: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: 1, clock });
  for (let n = 0; n < 10; n++) {
    await limiter.run(async () => {
      time.now += 20;
    });
  }
  const waitsWith = async (deadlineMs: number): Promise<string> => {
    const permit = limiter.tryAcquire();
    const run = limiter.run(() => 'begun', { deadlineMs }).catch((error) => error.reason);
    permit?.ignore();
    return run;
  };
  return { limiter, time, waitsWith };
}

test('calls that fail at once do not make work look short', async () => {
  const { limiter, waitsWith } = await setUp();
  for (let n = 0; n < 30; n++) {
    await limiter.run(() => Promise.reject(new TypeError('a wrong argument'))).catch(() => {});
  }
  expect(await waitsWith(15)).toBe('deadline');
  expect(await waitsWith(25)).toBe('begun');
});

test('nor do permits that were given back unused', async () => {
  const { limiter, waitsWith } = await setUp();
  for (let n = 0; n < 30; n++) limiter.tryAcquire()?.ignore();
  expect(await waitsWith(15)).toBe('deadline');
});

test('a caller that leaves after longer than work is known to take shows that it takes longer', async () => {
  const { limiter, time, waitsWith } = await setUp();
  for (let n = 0; n < 30; n++) {
    const controller = new AbortController();
    const run = limiter.run(({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', reject)), {
      signal: controller.signal,
    });
    time.now += 50;
    controller.abort();
    await run.catch(() => {});
    await new Promise(setImmediate);
  }
  expect(await waitsWith(40)).toBe('deadline');
});

test('one that fails for overload does count', async () => {
  const { limiter, waitsWith } = await setUp();
  for (let n = 0; n < 40; n++) {
    await limiter
      .run(() => Promise.reject(Object.assign(new Error('full'), { code: 'ERR_OVERLOADED' })))
      .catch(() => {});
  }
  expect(await waitsWith(15)).toBe('begun');
});

test('work that waited for its permit counts as any other', async () => {
  const { limiter, time, waitsWith } = await setUp();
  const takes5Ms = async (): Promise<void> => {
    time.now += 5;
  };
  await Promise.all(Array.from({ length: 60 }, () => limiter.run(takes5Ms)));
  expect(await waitsWith(10)).toBe('begun');
});

test('one that left early says nothing of the longest either', async () => {
  const time = { now: 0 };
  const clock = { now: () => time.now, setTimeout: () => undefined, clearTimeout: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: 1, order: 'adaptive', clock });
  for (let n = 0; n < 10; n++) {
    const permit = limiter.tryAcquire();
    time.now += n === 0 ? 100 : 20;
    permit?.release();
  }
  for (let n = 0; n < 60; n++) {
    const permit = limiter.tryAcquire();
    time.now += 30;
    permit?.ignore();
  }
  const permit = limiter.tryAcquire();
  const begun: string[] = [];
  const all = ['older', 'newer'].map((name) => limiter.run(async () => void begun.push(name), { deadlineMs: 98 }));
  permit?.ignore();
  await Promise.all(all);
  // One call in twenty takes 100 ms, so the older may not end in time any more: the newest goes first.
  expect(begun).toEqual(['newer', 'older']);
});
