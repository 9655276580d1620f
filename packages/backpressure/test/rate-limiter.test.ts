import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { RateLimiter, type RateLimiterOptions } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

function setUp(options: Partial<RateLimiterOptions> = {}) {
  const clock = new ManualClock();
  return { clock, limiter: new RateLimiter({ limit: 10, intervalMs: 1_000, clock, ...options }) };
}

describe('a rate limiter', () => {
  test('allows a burst, then one at a time at an even rate', () => {
    const { limiter, clock } = setUp({ burst: 3 });
    expect([1, 2, 3].map(() => limiter.tryConsume('a').remaining)).toEqual([2, 1, 0]);
    expect(limiter.tryConsume('a')).toEqual({ allowed: false, remaining: 0, retryAfterMs: 100 });
    clock.jump(99);
    expect(limiter.tryConsume('a')).toEqual({ allowed: false, remaining: 0, retryAfterMs: 1 });
    clock.jump(1);
    expect(limiter.tryConsume('a').allowed).toBe(true);
    expect(limiter.tryConsume('a').allowed).toBe(false);
    clock.jump(10_000);
    expect(limiter.tryConsume('a').remaining).toBe(2);
    expect(limiter.stats()).toEqual({ keys: 1, allowed: 5, denied: 3 });
  });

  test('counts each key for itself, and says the same as a promise', async () => {
    const { limiter } = setUp({ burst: 1 });
    expect(await limiter.consume('a')).toEqual({ allowed: true, remaining: 0, retryAfterMs: 0 });
    expect(await limiter.consume('b')).toEqual({ allowed: true, remaining: 0, retryAfterMs: 0 });
    expect(await limiter.consume('a')).toEqual({ allowed: false, remaining: 0, retryAfterMs: 100 });
  });

  test('a call may weigh more, and one that is refused costs nothing', () => {
    const { limiter } = setUp();
    expect(limiter.tryConsume('a', { cost: 7 })).toMatchObject({ allowed: true, remaining: 3 });
    expect(limiter.tryConsume('a', { cost: 5 })).toEqual({ allowed: false, remaining: 3, retryAfterMs: 200 });
    expect(limiter.tryConsume('a', { cost: 3 }).allowed).toBe(true);
    expect(() => limiter.tryConsume('a', { cost: 11 })).toThrow('cost must be a number > 0 and <= burst (10), got 11');
    expect(() => limiter.tryConsume('a', { cost: 0 })).toThrow(RangeError);
  });

  test('never remembers more than maxKeys, and forgets the recovered first', () => {
    const { limiter, clock } = setUp({ maxKeys: 4, burst: 1 });
    limiter.tryConsume('recovered');
    clock.jump(1_000);
    for (const key of ['a', 'b', 'c']) limiter.tryConsume(key);
    limiter.tryConsume('d');
    expect(limiter.stats().keys).toBe(4);
    for (const key of ['a', 'b', 'c', 'd']) expect(limiter.tryConsume(key).allowed).toBe(false);
  });

  test('forgets, where none has recovered, one that is nearest to it', () => {
    const { limiter } = setUp({ maxKeys: 3 });
    limiter.tryConsume('heavy', { cost: 10 });
    limiter.tryConsume('light', { cost: 1 });
    limiter.tryConsume('middle', { cost: 9 });
    for (let n = 0; n < 50; n++) limiter.tryConsume(`new-${n}`);
    expect(limiter.stats().keys).toBe(3);
    expect(limiter.tryConsume('heavy').allowed).toBe(false);
    expect(limiter.tryConsume('middle', { cost: 2 }).allowed).toBe(false);
  });

  test('in no interval of any length is more allowed than the burst and what the interval earns, and what is promised is kept', () => {
    fc.assert(
      fc.property(
        fc.record({ limit: fc.integer({ min: 1, max: 50 }), burst: fc.integer({ min: 1, max: 20 }) }),
        fc.array(fc.record({ wait: fc.integer({ min: 0, max: 300 }), cost: fc.integer({ min: 1, max: 20 }) }), {
          maxLength: 60,
          size: 'max',
        }),
        ({ limit, burst }, calls) => {
          const { limiter, clock } = setUp({ limit, burst });
          const spent: { at: number; cost: number }[] = [];
          for (const { wait, cost: wish } of calls) {
            clock.jump(wait);
            const cost = Math.min(wish, burst);
            const verdict = limiter.tryConsume('k', { cost });
            if (verdict.allowed) spent.push({ at: clock.now(), cost });
            else {
              clock.jump(verdict.retryAfterMs);
              expect(limiter.tryConsume('k', { cost }).allowed).toBe(true);
              spent.push({ at: clock.now(), cost });
            }
          }
          for (let from = 0; from < spent.length; from++) {
            let sum = 0;
            for (let to = from; to < spent.length; to++) {
              sum += spent[to]!.cost;
              const earned = ((spent[to]!.at - spent[from]!.at) * limit) / 1_000;
              expect(sum).toBeLessThanOrEqual(burst + earned + 1e-6);
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test('locks nobody out for longer than a burst takes when the clock is set back', () => {
    const { limiter, clock } = setUp({ burst: 10 });
    for (let n = 0; n < 10; n++) limiter.tryConsume('k');
    clock.jump(-1e6);
    expect(limiter.tryConsume('k')).toEqual({ allowed: false, remaining: 0, retryAfterMs: 100 });
    clock.jump(100);
    expect(limiter.tryConsume('k').allowed).toBe(true);
    clock.jump(900);
    expect(limiter.tryConsume('k').remaining).toBe(8);
  });

  test('keeps of a long key its digest', () => {
    const { limiter } = setUp({ intervalMs: 1e9 });
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let n = 0; n < 1_000; n++) limiter.tryConsume(`${n}`.padEnd(20_000));
    gc();
    expect((process.memoryUsage().heapUsed - before) / 1e6).toBeLessThan(5);
    expect(limiter.stats().keys).toBe(1_000);
    expect(limiter.tryConsume('7'.padEnd(20_000)).remaining).toBe(8);
  });

  test('bad options are refused', () => {
    expect(() => setUp({ limit: 0 })).toThrow('limit must be a finite number > 0, got 0');
    expect(() => setUp({ intervalMs: -1 })).toThrow('intervalMs must be a finite number > 0, got -1');
    expect(() => setUp({ burst: Number.NaN })).toThrow('burst must be a finite number > 0, got NaN');
    expect(() => setUp({ maxKeys: 0 })).toThrow('maxKeys must be an integer >= 1, got 0');
  });
});
