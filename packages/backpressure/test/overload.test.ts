import {
  AimdLimit,
  ConcurrencyLimiter,
  type ConcurrencyLimiterOptions,
  GradientLimit,
  KneeLimit,
  VegasLimit,
} from '@x/backpressure';
import { type Admission, type OverloadScenario, serviceTimes, simulateOverload } from '@x/testkit';
import { describe, expect, test } from 'vitest';

// Bounds are far from what is seen (`pnpm bench backpressure-simulation` prints it): a policy that collapses fails, noise does not.

type Surroundings = Parameters<Parameters<typeof simulateOverload>[0]>[0];

function behind(limit: ConcurrencyLimiterOptions['limit']): (surroundings: Surroundings) => Admission {
  return (surroundings) => {
    const limiter = new ConcurrencyLimiter({ limit, ...surroundings });
    return (work, call) => limiter.run(work, call);
  };
}

/** Good answers as a share of what the service can do, over five seconds after a warm-up. */
async function goodput(
  limit: ConcurrencyLimiterOptions['limit'],
  scenario: Partial<OverloadScenario>,
): Promise<number> {
  const fromMs = scenario.fromMs ?? 3_000;
  const { good, capacity } = await simulateOverload(behind(limit), {
    load: () => 1,
    fromMs,
    endMs: fromMs + 5_000,
    seed: 7,
    ...scenario,
  });
  return good / (capacity * 5);
}

describe.each([
  ['KneeLimit', () => new KneeLimit(), 0.95],
  ['VegasLimit', () => new VegasLimit(), 0.9],
  ['GradientLimit', () => new GradientLimit(), 0.9],
  ['AimdLimit with slowMs', () => new AimdLimit({ slowMs: 50 }), 0.9],
])('%s, with the defaults of the limiter', (_name, make, atLeast) => {
  test.each([
    [0.5, 0.47],
    [1, 0.9],
    [2, atLeast],
    [10, atLeast],
  ])('at %d times the load it can bear, does its work within the deadline', async (load, expected) => {
    expect(await goodput(make(), { load: () => load })).toBeGreaterThan(expected);
  });

  test('has recovered from ten times the load within a second', async () => {
    const load = (now: number): number => (now >= 3_000 && now < 5_000 ? 10 : 0.5);
    const scenario = { load, fromMs: 0, endMs: 7_000, seed: 7 };
    const { goodPerSecond, offeredPerSecond } = await simulateOverload(behind(make()), scenario);
    expect(goodPerSecond[5]! / offeredPerSecond[5]!).toBeGreaterThan(0.95);
    expect(goodPerSecond[6]! / offeredPerSecond[6]!).toBeGreaterThan(0.97);
  });
});

// The shortest mean of many windows was taken for the time without load: half of a hundred workers had nothing to do.
test.each([
  [1, serviceTimes.exponential],
  [2, serviceTimes.exponential],
  [1, serviceTimes.lognormal],
  [2, serviceTimes.lognormal],
])(
  'VegasLimit keeps a hundred workers busy at %d times the load, whatever the luck of its windows',
  async (load, service) => {
    const scenario = { workers: 100, service, load: () => load, fromMs: 8_000, seed: 8 };
    expect(await goodput(new VegasLimit(), scenario)).toBeGreaterThan(0.9);
  },
);

/** Everything takes four times as long for 20 seconds. */
const brownOut = {
  load: () => 0.8,
  slowness: (now: number) => (now >= 5_000 && now < 25_000 ? 4 : 1),
  fromMs: 5_000,
  endMs: 25_000,
  seed: 7,
};

describe.each([
  ['VegasLimit', () => new VegasLimit(), 0.7, 0.9, 0.9],
  ['GradientLimit', () => new GradientLimit(), 0.6, 0.7, 0.97],
  ['AimdLimit with slowMs', () => new AimdLimit({ slowMs: 50 }), 0.75, 0.9, 0.97],
  ['KneeLimit', () => new KneeLimit(), 0.8, 0.95, 0.97],
])('%s, behind it a service that becomes four times slower', (_name, make, exponential, constant, after) => {
  test.each([
    // With exponential times one in twelve takes longer than the deadline, whatever is done.
    ['exponential' as const, exponential],
    ['constant' as const, constant],
  ])('keeps it busy (%s service times)', async (kind, atLeast) => {
    const scenario = { ...brownOut, service: serviceTimes[kind] };
    const { good, capacity } = await simulateOverload(behind(make()), scenario);
    expect(good / ((capacity / 4) * 20)).toBeGreaterThan(atLeast);
  });

  test('gives the time back when it has recovered', async () => {
    const scenario = { ...brownOut, fromMs: 26_000, endMs: 29_000 };
    const { good, offered } = await simulateOverload(behind(make()), scenario);
    expect(good / offered).toBeGreaterThan(after);
  });
});

describe('KneeLimit', () => {
  test.each([
    [2, 0.85],
    [100, 0.93],
  ])('finds %d workers', async (workers, atLeast) => {
    const scenario = { workers, load: () => 3, fromMs: 8_000, endMs: 13_000 };
    expect(await goodput(new KneeLimit(), scenario)).toBeGreaterThan(atLeast);
  });

  test.each([
    ['exponential' as const, 2],
    ['lognormal' as const, 2],
    ['exponential' as const, 4],
  ])('%s calls with little patience do not end up waiting for each other inside %d workers', async (kind, workers) => {
    for (const seed of [1, 2, 3]) {
      const scenario = { workers, service: serviceTimes[kind], deadlineMs: 50, load: () => 5, fromMs: 10_000, seed };
      expect(await goodput(new KneeLimit(), scenario)).toBeGreaterThan(0.75);
    }
  });

  test('does not settle below what the service works on at once', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const limit = new KneeLimit();
      await simulateOverload(behind(limit), { load: () => 2, fromMs: 0, endMs: 13_000, seed });
      expect(limit.limit).toBeGreaterThanOrEqual(10);
      expect(limit.limit).toBeLessThan(20);
    }
  });

  test('is not led astray by a few very long calls', async () => {
    const scenario = { workers: 100, service: serviceTimes.bimodal, load: () => 2, fromMs: 10_000, endMs: 15_000 };
    expect(await goodput(new KneeLimit(), scenario)).toBeGreaterThan(0.7);
  });
});

test('critical work keeps its share at any load', async () => {
  for (const load of [1, 5]) {
    const scenario = { load: () => load, criticalShare: 0.5, fromMs: 2_000, endMs: 6_000, seed: 7 };
    const outcome = await simulateOverload(behind(new KneeLimit()), scenario);
    const possible = Math.min(outcome.offeredCritical, outcome.capacity * 4);
    expect(outcome.goodCritical / possible).toBeGreaterThan(0.96);
  }
});
