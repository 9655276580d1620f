import {
  type AcquireOptions,
  type AdaptiveLimit,
  ClientThrottle,
  ConcurrencyLimiter,
  LoadShedder,
  type Priority,
} from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

// A priority that is none was found out only when a call had to wait: under load. `LoadShedder` never shed it, or always (`constructor`).

describe.each<[string, object, string]>([
  ['a priority', { priority: 'urgent' }, "priority must be one of 'critical', 'default', 'sheddable', got 'urgent'"],
  ['null as a priority', { priority: null }, "priority must be one of 'critical', 'default', 'sheddable', got null"],
  ['a deadline', { deadlineMs: '50' }, "deadlineMs must be a number >= -Infinity, got '50'"],
  ['no number as a deadline', { deadlineMs: Number.NaN }, 'deadlineMs must be a number >= -Infinity, got NaN'],
])('%s that is none is refused', (_what, options, message) => {
  test.each<[string, (limiter: ConcurrencyLimiter, options: AcquireOptions) => Promise<unknown>]>([
    ['run', (limiter, how) => limiter.run(() => 'ran', how)],
    ['acquire', (limiter, how) => limiter.acquire(how)],
  ])('by %s, whether a permit is free or not', async (_call, call) => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    await expect(call(limiter, options as never)).rejects.toThrow(message);
    const held = limiter.tryAcquire();
    await expect(call(limiter, options as never)).rejects.toThrow(message);
    held?.release();
    await limiter.close();
    await expect(call(limiter, options as never)).rejects.toThrow(message);
    expect(limiter.stats()).toMatchObject({ inFlight: 0, queued: 0, admitted: 1 });
  });
});

test.each(['urgent', 'constructor', '__proto__', '', null, 5])('LoadShedder refuses %j as a priority', async (none) => {
  const clock = new ManualClock();
  const shedder = new LoadShedder({ eventLoopDelayMs: Number.POSITIVE_INFINITY, pressure: () => 2, clock });
  await clock.advance(250);
  expect(() => shedder.check({ priority: none as Priority })).toThrow("priority must be one of 'critical'");
  expect(shedder.check({ priority: undefined })).toMatchObject({ reason: 'shed' });
  expect(shedder.stats().shed).toEqual({ critical: 0, default: 1, sheddable: 0 });
  await shedder.close();
});

// `timeoutMs: Infinity` gave the work no signal at all.

test('work with no bound on its time has a signal as any other', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const aborted = await limiter.run(({ signal }) => signal.aborted, { timeoutMs: Number.POSITIVE_INFINITY });
  expect(aborted).toBe(false);
  const { signal } = new AbortController();
  const given = await limiter.run((context) => context.signal, { timeoutMs: Number.POSITIVE_INFINITY, signal });
  expect(given).toBe(signal);
});

// A strategy that began with no number let everything run at once, one that began below 1 let nothing run ever.

test.each([Number.NaN, 0, -3])('a strategy that begins at %d is refused', (limit) => {
  const strategy: AdaptiveLimit = { limit, record: () => {} };
  expect(() => new ConcurrencyLimiter({ limit: strategy })).toThrow(
    new RangeError(`@x/backpressure: limit.limit must be a number >= 1, got ${limit}`),
  );
});

test('of a limit that is no whole number the whole part may run', async () => {
  const strategy = { limit: 1.9, record: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: strategy });
  expect(limiter.limit).toBe(1);
  strategy.limit = 2.9;
  await limiter.run(() => {});
  expect(limiter.limit).toBe(2);
  expect([limiter.tryAcquire(), limiter.tryAcquire(), limiter.tryAcquire()].filter(Boolean)).toHaveLength(2);
});

test('a client throttle that is to refuse nothing has a number for what it refuses', async () => {
  const throttle = new ClientThrottle({ k: Number.POSITIVE_INFINITY, random: () => 0 });
  const overloaded = Object.assign(new Error('busy'), { status: 503 });
  await expect(throttle.run(() => Promise.reject(overloaded))).rejects.toBe(overloaded);
  await expect(throttle.run(() => Promise.reject(overloaded))).rejects.toBe(overloaded);
  expect(throttle.stats().rejectionRatio).toBe(0);
});

// Closed from within a measure it went on shedding for ever.

test('a shedder that is closed while it looks sheds nothing more and looks no more', async () => {
  const clock = new ManualClock();
  let looks = 0;
  const shedder: LoadShedder = new LoadShedder({
    eventLoopDelayMs: Number.POSITIVE_INFINITY,
    pressure: () => {
      looks++;
      void shedder.close();
      return 2;
    },
    clock,
  });
  await clock.advance(1_000);
  expect(shedder.check({ priority: 'sheddable' })).toBeUndefined();
  expect([looks, clock.pendingTimers]).toEqual([1, 0]);
});
