import { type AdaptiveLimit, ConcurrencyLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';

// A strategy of one's own whose `record` threw took the place of the work's result, let nobody in who waited, and left a caller with a
// signal without an answer; one whose limit was no number let nobody in for ever.

const throwing: AdaptiveLimit = {
  limit: 1,
  record() {
    throw new Error('of the strategy');
  },
  stalled() {
    throw new Error('of the strategy');
  },
};
const confused = {
  limit: 1,
  record(this: { limit: number }) {
    this.limit = Number.NaN;
  },
};

test.each<[string, () => AdaptiveLimit]>([
  ['throws', () => throwing],
  ['has no number', () => ({ ...confused })],
])('a strategy that %s costs no caller an answer', async (_what, make) => {
  const limiter = new ConcurrencyLimiter({ limit: make() });
  const { signal } = new AbortController();
  const later = (n: number) => () => new Promise<number>((resolve) => setImmediate(resolve, n));
  const values = Promise.all([
    limiter.run(later(1)),
    limiter.run(later(2), { signal }),
    limiter.run(later(3), { timeoutMs: 10_000 }),
    limiter.acquire().then((permit) => permit.release()),
    limiter.run(later(4)),
  ]);
  expect(await values).toEqual([1, 2, 3, undefined, 4]);
  await expect(limiter.run(() => Promise.reject(new Error('of the work')), { signal })).rejects.toThrow('of the work');
  expect(limiter.stats()).toMatchObject({ inFlight: 0, queued: 0, limit: 1, completed: 6 });
});

test('nor does one that throws when nothing moves', async () => {
  let now = 0;
  const clock = { now: () => now, setTimeout: () => 0, clearTimeout: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: throwing, clock });
  const held = await limiter.acquire();
  now = 10_000;
  const waiting = limiter.run(async () => 'done');
  held.release();
  expect(await waiting).toBe('done');
});
