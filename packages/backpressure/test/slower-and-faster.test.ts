import { type AdaptiveLimit, GradientLimit, VegasLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

/** Windows of a service whose calls all take `runMs`, under a load that reaches the limit. */
function windows(limit: AdaptiveLimit, from: number, count: number, runMs: number): number {
  let now = from;
  for (let n = 0; n < count * 11; n++) {
    now += 10;
    limit.record(now, runMs, limit.limit, false);
  }
  return now;
}

test('GradientLimit forgets a slow spell: what is usual comes down once calls are fast again', () => {
  const limit = new GradientLimit({ initialLimit: 100 });
  let now = windows(limit, 0, 100, 100);
  now = windows(limit, now, 60, 10);
  const before = limit.limit;
  windows(limit, now, 5, 40);
  expect(limit.limit).toBeLessThan(before);
});

test('VegasLimit takes a service that has become slower for what it is, not for a queue', () => {
  const limit = new VegasLimit({ initialLimit: 50 });
  const now = windows(limit, 0, 3, 10);
  windows(limit, now, 100, 40);
  expect(limit.limit).toBeGreaterThan(50);
});
