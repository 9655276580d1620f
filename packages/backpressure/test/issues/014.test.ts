import { type AdaptiveLimit, ConcurrencyLimiter, GradientLimit, KneeLimit, VegasLimit } from '@x/backpressure';
import { simulateOverload } from '@x/testkit';
import { expect, test } from 'vitest';

// A limit that was lowered to measure stayed so for ever where work that never ends held as much: nothing began, so nothing ended, and
// only what ends moves the limit. Behind `VegasLimit` eight calls that hung stopped all others.

test.each<[string, () => AdaptiveLimit, number, number]>([
  ['VegasLimit', () => new VegasLimit(), 8, 0.8],
  ['GradientLimit', () => new GradientLimit(), 8, 0.8],
  ['KneeLimit', () => new KneeLimit(), 12, 0.8],
])('calls that never end do not stop %s', async (_name, make, hung, atLeast) => {
  for (const seed of [1, 2, 3]) {
    let left = hung;
    const { goodPerSecond, capacity } = await simulateOverload(
      ({ clock, random }) => {
        const limiter = new ConcurrencyLimiter({ limit: make(), clock, random });
        return (work, call) => {
          const hangs = clock.now() > 3_000 && left > 0;
          if (hangs) left--;
          // The newest goes first: it will begin.
          return limiter.run(hangs ? () => new Promise<void>(() => {}) : work, call);
        };
      },
      { load: () => 2, fromMs: 0, endMs: 60_000, seed },
    );
    expect(left).toBe(0);
    for (const from of [30, 40, 50]) {
      const good = goodPerSecond.slice(from, from + 10).reduce((sum, each) => sum + each, 0);
      expect(good / (capacity * 10)).toBeGreaterThan(atLeast);
    }
  }
});

test.each<[string, () => AdaptiveLimit & { stalled(now: number): void }]>([
  ['VegasLimit', () => new VegasLimit()],
  ['GradientLimit', () => new GradientLimit()],
  ['KneeLimit', () => new KneeLimit()],
])('%s goes back to where it was, and measures again later', (_name, make) => {
  const limit = make();
  let now = 0;
  /** Until it is lowered; what it was before. */
  const measured = (): number => {
    for (let calls = 0; calls < 100_000; calls++, now += 2) {
      const before = limit.limit;
      limit.record(now, 10, before, false);
      if (limit.limit < before * 0.7) return before;
    }
    throw new Error('it never was');
  };
  for (let round = 0; round < 3; round++) {
    const before = measured();
    now += 5_000;
    limit.stalled(now);
    expect(limit.limit).toBeGreaterThanOrEqual(before);
  }
});
