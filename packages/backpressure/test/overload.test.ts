import { AimdLimit, GradientLimit, VegasLimit } from '@x/backpressure';
import { describe, expect, test } from 'vitest';
import { capacity, simulate } from './simulation/overload.ts';

// Bounds are far from what is seen: a policy that collapses fails, noise does not.
describe.each([
  ['VegasLimit', () => new VegasLimit()],
  ['GradientLimit', () => new GradientLimit()],
  ['AimdLimit with slowMs', () => new AimdLimit({ slowMs: 50 })],
])('%s, with the defaults of the limiter', (_name, make) => {
  test.each([
    [0.5, 0.48],
    [1, 0.88],
    [2, 0.9],
    [10, 0.9],
  ])('at %d times the load it can bear, does its work within the deadline', async (load, atLeast) => {
    const { good } = await simulate(make(), { load: () => load, fromMs: 2_000, endMs: 5_000 }, 7);
    expect(good / (capacity * 3)).toBeGreaterThan(atLeast);
  });

  test('has recovered from ten times the load within a second', async () => {
    const load = (now: number): number => (now >= 3_000 && now < 5_000 ? 10 : 0.5);
    const { goodPerSecond, offeredPerSecond } = await simulate(make(), { load, fromMs: 0, endMs: 7_000 }, 7);
    expect(goodPerSecond[5]! / offeredPerSecond[5]!).toBeGreaterThan(0.95);
    expect(goodPerSecond[6]! / offeredPerSecond[6]!).toBeGreaterThan(0.97);
  });
});

test('VegasLimit keeps a service busy that becomes four times slower, and gives the time back when it recovers', async () => {
  const serviceMs = (now: number): number => (now >= 5_000 && now < 25_000 ? 40 : 10);
  const slow = await simulate(new VegasLimit(), { load: () => 0.8, serviceMs, fromMs: 5_000, endMs: 25_000 }, 7);
  // Nine in ten calls of 40 ms on average end within 100 ms at all.
  expect(slow.good / ((capacity / 4) * 20)).toBeGreaterThan(0.75);
  const after = await simulate(new VegasLimit(), { load: () => 0.8, serviceMs, fromMs: 26_000, endMs: 29_000 }, 7);
  expect(after.good / after.offered).toBeGreaterThan(0.95);
});

test('critical work keeps its share at any load', async () => {
  const priority = (n: number) => (n % 2 === 0 ? ('critical' as const) : ('sheddable' as const));
  for (const load of [1, 5]) {
    const outcome = await simulate(new VegasLimit(), { load: () => load, priority, fromMs: 2_000, endMs: 5_000 }, 7);
    const possible = Math.min(outcome.offeredBy.critical, capacity * 3);
    expect(outcome.goodBy.critical / possible).toBeGreaterThan(0.93);
  }
});
