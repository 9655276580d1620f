import { type AdaptiveLimit, AimdLimit, GradientLimit, VegasLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

// How soon a call failed for overload was taken for how long calls take: `VegasLimit` and `GradientLimit` saw a service without load in it.

const strategies: [string, () => AdaptiveLimit][] = [
  ['GradientLimit', () => new GradientLimit()],
  ['VegasLimit', () => new VegasLimit()],
  ['AimdLimit', () => new AimdLimit({ slowMs: 50 })],
];

test.each(strategies)('%s goes the same way however long failures take', (_name, make) => {
  const way = (failedAfterMs: number): number[] => {
    const limit = make();
    const limits: number[] = [];
    for (let call = 0; call < 20_000; call++) {
      // Now and then for a while one call in five fails.
      const failed = call % 5 === 0 && call % 4_000 < 400;
      limit.record(call * 2, failed ? failedAfterMs : 10, limit.limit, failed);
      limits.push(limit.limit);
    }
    return limits;
  };
  expect(way(0.1)).toEqual(way(5_000));
  expect(new Set(way(0.1)).size).toBeGreaterThan(10);
});

test.each(strategies)('%s grows again after a time in which all failed at once', (_name, make) => {
  const limit = make();
  let now = 0;
  const calls = (count: number, runMs: number, failed: boolean): void => {
    for (let call = 0; call < count; call++, now += 2) limit.record(now, runMs, limit.limit, failed);
  };
  calls(2_000, 10, false);
  const before = limit.limit;
  calls(2_000, 0.1, true);
  expect(limit.limit).toBeLessThan(before);
  const bottom = limit.limit;
  calls(500, 10, false);
  expect(limit.limit).toBeGreaterThan(bottom + 3);
});
