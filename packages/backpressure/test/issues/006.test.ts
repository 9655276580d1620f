import { ConcurrencyLimiter, RateLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';

// A `signal` that is none (null, from code without types) threw once its caller had a place in the queue: the place stayed, was
// granted a permit, and nobody gave that back. Work that returns a promise with a `then` of its own lost its permit likewise.

test.each([[null], [5], ['now'], [{}], [{ aborted: false }]])(
  'a signal that is %o is refused, and costs nothing',
  async (wrong) => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const options = { signal: wrong as never };
    const permit = limiter.tryAcquire();
    for (const call of [limiter.run(() => 1, options), limiter.acquire(options)]) {
      await expect(call).rejects.toThrow(TypeError);
      await expect(call).rejects.toThrow('@x/backpressure: signal must be an AbortSignal');
    }
    permit?.release();
    await expect(limiter.run(() => 1, options)).rejects.toThrow('signal must be an AbortSignal');
    expect(limiter.stats()).toMatchObject({ inFlight: 0, queued: 0 });
    expect(await limiter.run(() => 'goes on')).toBe('goes on');
  },
);

const thenThrows = (): Promise<string> =>
  Object.defineProperty(Promise.resolve('done'), 'then', {
    value: () => {
      throw new Error('its own then');
    },
  });

test.each([
  ['that finds a permit free', false, undefined],
  ['that waited', true, undefined],
  ['that waited and may be left', true, { timeoutMs: 1_000 }],
] as const)('a promise with a then of its own, from work %s, gives its permit back', async (_what, waits, options) => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const permit = waits ? limiter.tryAcquire() : undefined;
  const run = limiter.run(thenThrows, options);
  permit?.release();
  expect(await run).toBe('done');
  expect(limiter.stats().inFlight).toBe(0);
});

test('sums only grow, though the clock is set back', async () => {
  let now = 1_000;
  const limiter = new ConcurrencyLimiter({
    limit: 1,
    clock: { now: () => now, setTimeout: () => 0, clearTimeout: () => {} },
  });
  await limiter.run(async () => {
    now -= 500;
  });
  expect(limiter.stats()).toMatchObject({ runMs: 0, queueWaitMs: 0 });
});

test.each([[{ limit: 1, intervalMs: 1e308, burst: 1e308 }], [{ limit: 1e308, intervalMs: 1e-300 }]])(
  'a rate that no number can count is refused, not taken for none: %o',
  (options) => {
    expect(() => new RateLimiter(options)).toThrow(RangeError);
  },
);
