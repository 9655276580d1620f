import { Metrics } from '@x/metrics';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseExposition } from './exposition.ts';
import { exampleStats } from './stats.ts';

const number = fc.oneof(fc.nat(1_000), fc.constantFrom(Number.NaN, -1, Infinity, 0.1));
const reasons = fc.dictionary(fc.oneof(fc.constantFrom('a', 'b', 'c', 'd', '__proto__'), fc.string()), number, {
  maxKeys: 12,
});

/** One round of what two limiters give; undefined throws. Anything may come, also values that go down. */
const round = fc.array(
  fc.option(fc.record({ admitted: number, runMs: number, rejected: reasons }), { nil: undefined, freq: 5 }),
  {
    minLength: 2,
    maxLength: 2,
  },
);

test('whatever stats() gives, the exposition parses and no counter goes down', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 2, maxLength: 8 }), async (rounds) => {
      const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
      let current = rounds[0]!;
      for (const index of [0, 1]) {
        metrics.observe('limiter', `limiter "${index}"\n\\`, {
          stats: () => {
            const given = current[index];
            if (given === undefined) throw new Error('no stats');
            return { ...exampleStats.limiter, ...given };
          },
        });
      }
      const last = new Map<string, number>();
      for (current of rounds) {
        for (const [name, { type, samples }] of parseExposition(await metrics.registry.metrics())) {
          expect(samples.size, name).toBeLessThanOrEqual(9);
          if (type !== 'counter') continue;
          for (const [key, value] of samples) {
            expect(value, key).toBeGreaterThanOrEqual(last.get(key) ?? 0);
            last.set(key, value);
          }
          for (const key of last.keys()) if (key.startsWith(`${name}{`)) expect(samples.has(key), key).toBe(true);
        }
      }
    }),
    { numRuns: 150 },
  );
});

test('a counter shows all that was counted when its source starts again', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }), { minLength: 1 }),
      async (lives) => {
        const metrics = new Metrics({ defaultMetrics: false });
        let denied = 0;
        let counted = 0;
        metrics.observe('rate-limiter', 'r', { stats: () => ({ keys: 0, allowed: 0, denied }) });
        for (const steps of lives) {
          const before = denied;
          denied = 0;
          for (const [index, step] of steps.entries()) {
            denied += step;
            counted += step;
            // A start again that has already passed where the last life ended cannot be seen; Prometheus' rate() is as blind.
            if (index === 0 && denied >= before) counted -= before;
            expect(await metrics.registry.metrics()).toContain(`result="denied"} ${counted}\n`);
          }
        }
      },
    ),
    { numRuns: 100 },
  );
});
