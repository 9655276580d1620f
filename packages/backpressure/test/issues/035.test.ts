import { AimdLimit, GradientLimit, KneeLimit, VegasLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

// A `maxLimit` below 20, or a `minLimit` above, was refused for the sake of a default that nobody had asked for.
test.each([AimdLimit, GradientLimit, KneeLimit, VegasLimit])('%o begins within its bounds', (Limit) => {
  expect(new Limit().limit).toBe(20);
  for (let maxLimit = 1; maxLimit < 20; maxLimit++) expect(new Limit({ maxLimit }).limit).toBe(maxLimit);
  for (const minLimit of [1, 20, 21, 50, 1_000]) expect(new Limit({ minLimit }).limit).toBe(Math.max(20, minLimit));
  expect(() => new Limit({ initialLimit: 20, maxLimit: 10 })).toThrow(
    'initialLimit must be at most maxLimit (10), got 20',
  );
});
