import { ConcurrencyLimiter, GradientLimit } from '@x/backpressure';
import { simulateOverload } from '@x/testkit';
import { expect, test } from 'vitest';

// `GradientLimit` compared run times with their own long average, which takes in overload: after a minute at twice the load
// its limit was 190 for ten workers, and no answer came in time.

test('a minute of overload does not make the limit grow', async () => {
  const limit = new GradientLimit();
  const { good, capacity } = await simulateOverload(
    (surroundings) => {
      const limiter = new ConcurrencyLimiter({ limit, ...surroundings, maxQueue: 0 });
      return (work) => limiter.run(work);
    },
    { load: () => 2, fromMs: 60_000, endMs: 70_000, seed: 1 },
  );
  expect(good / (capacity * 10)).toBeGreaterThan(0.9);
  expect(limit.limit).toBeLessThan(40);
});
