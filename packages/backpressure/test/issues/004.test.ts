import { ConcurrencyLimiter, RateLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';

// An option of the wrong kind threw a RangeError where it was a string, and a TypeError where it was anything else but a
// number: `limit: '5'` and `limit: null` are the same mistake. One without a string form threw an error about that.

test.each([['5'], [null], [true], [{}], [Object.create(null)], [[5]], [5n]])(
  '%o is no number: a TypeError',
  (wrong) => {
    expect(() => new ConcurrencyLimiter({ limit: 1, maxQueue: wrong as never })).toThrow(TypeError);
    expect(() => new ConcurrencyLimiter({ limit: 1, maxQueue: wrong as never })).toThrow(
      '@x/backpressure: maxQueue must be',
    );
    expect(() => new RateLimiter({ limit: wrong as never, intervalMs: 1 })).toThrow('@x/backpressure: limit must be');
    expect(() => new RateLimiter({ limit: wrong as never, intervalMs: 1 })).toThrow(TypeError);
  },
);

test.each([[-1], [Number.NaN], [1.5]])('%d is a number, but not one that will do: a RangeError', (wrong) => {
  expect(() => new ConcurrencyLimiter({ limit: 1, maxQueue: wrong })).toThrow(RangeError);
});

test('where no number would do, a number is of the wrong kind too', () => {
  expect(() => new ConcurrencyLimiter({ limit: 1, name: 5 as never })).toThrow(TypeError);
  expect(() => new ConcurrencyLimiter({ limit: 1, order: 5 as never })).toThrow(TypeError);
  expect(() => new ConcurrencyLimiter({ limit: 1, clock: 5 as never })).toThrow(TypeError);
});
