import { ClientThrottle, RetryBudget } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

describe('a retry budget', () => {
  test('allows retries as a share of calls, and a few without any', () => {
    const clock = new ManualClock();
    const budget = new RetryBudget({ ratio: 0.1, minRetriesPerSecond: 0.5, windowMs: 10_000, clock });
    expect(Array.from({ length: 6 }, () => budget.tryRetry())).toEqual([true, true, true, true, true, false]);
    for (let n = 0; n < 20; n++) budget.recordCall();
    expect([1, 2, 3].map(() => budget.tryRetry())).toEqual([true, true, false]);
    expect(budget.stats()).toEqual({ calls: 20, retries: 7, denied: 2 });
  });

  test('forgets calls and retries after its window, slice by slice', () => {
    const clock = new ManualClock({ now: 0 });
    const budget = new RetryBudget({ ratio: 1, minRetriesPerSecond: 0, windowMs: 1_000, clock });
    budget.recordCall();
    clock.jump(500);
    budget.recordCall();
    clock.jump(499);
    expect(budget.stats().calls).toBe(2);
    clock.jump(1);
    expect(budget.stats().calls).toBe(1);
    clock.jump(500);
    expect(budget.stats().calls).toBe(0);
    budget.recordCall();
    clock.jump(1e9);
    expect(budget.tryRetry()).toBe(false);
  });

  test('costs nothing for the time in which it was not used', () => {
    const clock = new ManualClock();
    const budget = new RetryBudget({ minRetriesPerSecond: 0, ratio: 1, windowMs: 1, clock });
    budget.recordCall();
    // 2,000,000,000 slices: no test would end that looked at each.
    clock.jump(2e8);
    expect(budget.stats()).toMatchObject({ calls: 0 });
    expect(budget.tryRetry()).toBe(false);
  });

  test('bad options are refused', () => {
    expect(() => new RetryBudget({ ratio: 2 })).toThrow('ratio must be a number from 0 to 1, got 2');
    expect(() => new RetryBudget({ windowMs: 0 })).toThrow('windowMs must be a finite number > 0, got 0');
  });
});

describe('a client throttle', () => {
  function setUp(random: () => number = () => 0.5) {
    const clock = new ManualClock({ now: 0 });
    return { clock, throttle: new ClientThrottle({ clock, random, windowMs: 10_000 }) };
  }
  const overloaded = () => Promise.reject(Object.assign(new Error('busy'), { status: 503 }));

  test('lets all through while the dependency accepts at least half, other errors included', async () => {
    const { throttle } = setUp(() => 0);
    for (let n = 0; n < 50; n++) {
      expect(await throttle.run(() => n)).toBe(n);
      await expect(throttle.run(() => Promise.reject(new Error('not found')))).rejects.toThrow('not found');
    }
    expect(throttle.stats()).toEqual({ requests: 100, accepts: 100, rejectionRatio: 0, rejected: 0 });
  });

  test('refuses here what would be refused there, in proportion', async () => {
    let seed = 1;
    const { throttle } = setUp(() => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    });
    let sent = 0;
    let room = 0;
    let refusal: unknown;
    for (let n = 0; n < 1_000; n++) {
      // The dependency can do a tenth of what is wanted.
      room = Math.min(1, room + 0.1);
      await throttle
        .run(() => {
          sent++;
          if (room < 1) return overloaded();
          room = 0;
          return n;
        })
        .catch((error) => {
          if (error.code === 'ERR_OVERLOADED') refusal = error;
        });
    }
    const { accepts, rejected, requests } = throttle.stats();
    expect(requests).toBe(1_000);
    expect(rejected).toBe(1_000 - sent);
    // In the steady state it sends k = 2 for each that is accepted.
    expect(sent).toBeLessThan(accepts * 3.5);
    expect(sent).toBeGreaterThan(accepts * 1.5);
    expect(refusal).toMatchObject({ code: 'ERR_OVERLOADED', reason: 'shed', retryAfterMs: expect.any(Number) });
  });

  test('counts a call when it is tried: a dependency that hangs is not well', async () => {
    const { throttle, clock } = setUp();
    for (let n = 0; n < 9; n++) void throttle.run(() => new Promise(() => {})).catch(() => {});
    clock.jump(2_000);
    expect(throttle.stats()).toMatchObject({ requests: 9, accepts: 0 });
    expect(throttle.stats().rejectionRatio).toBeCloseTo(9 / 10, 12);
  });

  test('an abort is answered at once and is nobody’s failure', async () => {
    const { throttle, clock } = setUp();
    const controller = new AbortController();
    const run = throttle.run(() => new Promise(() => {}), { signal: controller.signal });
    expect(await throttle.run(({ signal }) => signal.aborted, { signal: controller.signal })).toBe(false);
    clock.jump(5_000);
    controller.abort(new Error('gone'));
    await expect(run).rejects.toThrow('gone');
    await expect(throttle.run(() => 1, { signal: controller.signal })).rejects.toThrow('gone');
    expect(throttle.stats()).toMatchObject({ requests: 1, accepts: 1, rejectionRatio: 0 });
    clock.jump(9_000);
    expect(throttle.stats()).toMatchObject({ requests: 0, rejectionRatio: 0 });
  });

  test('what a call left behind does later is not counted either', async () => {
    const { throttle } = setUp();
    const controller = new AbortController();
    let end = (_: unknown): void => {};
    const work = new Promise((resolve) => {
      end = resolve;
    });
    const run = throttle.run(() => work, { signal: controller.signal });
    controller.abort(new Error('gone'));
    await expect(run).rejects.toThrow('gone');
    end('late');
    await work;
    await new Promise((resolve) => setImmediate(resolve));
    expect(throttle.stats()).toMatchObject({ requests: 0, accepts: 0 });
  });

  test.each([{ status: 429 }, { status: 503 }, { statusCode: 429 }, { statusCode: 503 }, { code: 'ERR_OVERLOADED' }])(
    'overload is by default %j, and nothing else',
    async (error) => {
      const throttle = new ClientThrottle({ random: () => 0.999 });
      for (const each of [error, { status: 500 }, { statusCode: 404 }, undefined]) {
        await throttle.run(() => Promise.reject(each)).catch(() => {});
      }
      expect(throttle.stats()).toMatchObject({ requests: 4, accepts: 3 });
    },
  );

  test('overload is what isOverload says, with a signal as without', async () => {
    const throttle = new ClientThrottle({ isOverload: (error) => error === 'busy', random: () => 0.99 });
    const { signal } = new AbortController();
    await throttle.run(() => Promise.reject('busy'), { signal }).catch(() => {});
    await throttle.run(() => Promise.reject('busy')).catch(() => {});
    await throttle.run(() => Promise.reject('other'), { signal }).catch(() => {});
    expect(throttle.stats()).toMatchObject({ requests: 3, accepts: 1 });
  });

  test('bad options are refused', () => {
    expect(() => new ClientThrottle({ k: 0.5 })).toThrow('k must be a number >= 1, got 0.5');
  });
});
