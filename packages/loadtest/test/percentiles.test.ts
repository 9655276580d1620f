import { expect, test } from 'vitest';
import { Recorder } from '../src/recorder.ts';

test.each([1, 0.01, 1_000])('percentiles of 1 to 1,000 times %d ms are right to three digits', (unit) => {
  const recorder = new Recorder();
  // In no order.
  for (let index = 0; index < 1_000; index++) recorder.record(undefined, (((index * 7_919) % 1_000) + 1) * unit);
  const { min, mean, p50, p90, p95, p99, p999, max } = recorder.latencyMs;
  expect([min, max]).toEqual([unit, 1_000 * unit]);
  expect(mean / unit).toBeCloseTo(500.5);
  for (const [value, exact] of [
    [p50, 500],
    [p90, 900],
    [p95, 950],
    [p99, 990],
    [p999, 999],
  ] as const)
    expect(Math.abs(value / unit / exact - 1)).toBeLessThan(0.001);
});
