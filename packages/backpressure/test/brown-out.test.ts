import { type AdaptiveLimit, AimdLimit, ConcurrencyLimiter, GradientLimit, VegasLimit } from '@x/backpressure';
import { type Admission, serviceTimes, simulateOverload } from '@x/testkit';
import { describe, expect, test } from 'vitest';

// Ten workers, 0.8 of what they can do is asked for, and everything takes four times as long from the fifth second to the 25th.
const scenario = {
  workers: 10,
  load: () => 0.8,
  slowness: (now: number) => (now >= 5_000 && now < 25_000 ? 4 : 1),
};
const slow = { fromMs: 5_000, endMs: 25_000 };
const after = { fromMs: 26_000, endMs: 29_000 };

type Strategy = AdaptiveLimit & { limit: number };

/** What came of the calls of that time, and the limits each of them met, in order of size. */
async function seen(
  make: () => Strategy,
  queue: 'queue' | 'none',
  kind: 'exponential' | 'constant',
  seed: number,
  time: typeof slow,
) {
  const limits: number[] = [];
  const outcome = await simulateOverload(
    ({ clock, random }): Admission => {
      const limit = make();
      const limiter = new ConcurrencyLimiter({ limit, clock, random, ...(queue === 'none' && { maxQueue: 0 }) });
      return (work, call) => {
        if (clock.now() >= time.fromMs) limits.push(limiter.limit);
        return queue === 'none' ? limiter.run(work) : limiter.run(work, call);
      };
    },
    { ...scenario, ...time, service: serviceTimes[kind], seed },
  );
  limits.sort((a, b) => a - b);
  return { ...outcome, middle: limits[limits.length >> 1] as number };
}

describe.each([
  ['GradientLimit', () => new GradientLimit(), { exponential: 0.65, constant: 0.85 }],
  ['VegasLimit', () => new VegasLimit(), { exponential: 0.72, constant: 0.88 }],
  ['AimdLimit, told what is slow', () => new AimdLimit({ slowMs: 50 }), { exponential: 0.75, constant: 0.88 }],
] as const)('%s, where a service becomes four times slower for 20 seconds', (_name, make, atLeast) => {
  describe.each(['queue', 'none'] as const)('(%s)', (queue) => {
    test.each(['exponential', 'constant'] as const)(
      'finds its limit, and does most of what it can (%s times)',
      async (kind) => {
        for (const seed of [1, 2, 3]) {
          const { good, capacity, middle } = await seen(make, queue, kind, seed, slow);
          expect(good / ((capacity / 4) * 20)).toBeGreaterThan(atLeast[kind]);
          expect(middle).toBeGreaterThanOrEqual(9);
          expect(middle).toBeLessThanOrEqual(25);
        }
      },
    );

    test.each(['exponential', 'constant'] as const)(
      'answers nearly all again a second after (%s times)',
      async (kind) => {
        for (const seed of [1, 2, 3]) {
          const { good, offered, middle } = await seen(make, queue, kind, seed, after);
          expect(good / offered).toBeGreaterThan(queue === 'none' ? 0.88 : 0.96);
          expect(middle).toBeLessThanOrEqual(60);
        }
      },
    );
  });
});

test.each([
  ['GradientLimit', () => new GradientLimit()],
  ['VegasLimit', () => new VegasLimit()],
] as const)(
  '%s finds the knee of a hundred workers as well, and does not fall to a few when they become slower',
  async (_name, make) => {
    const { good, capacity } = await simulateOverload(
      (surroundings): Admission => {
        const limiter = new ConcurrencyLimiter({ limit: make(), ...surroundings });
        return (work, call) => limiter.run(work, call);
      },
      { ...scenario, ...slow, workers: 100, service: serviceTimes.constant, seed: 1 },
    );
    expect(good / ((capacity / 4) * 20)).toBeGreaterThan(0.85);
  },
);
