import { ClientThrottle } from '@x/backpressure';
import { expect, test } from 'vitest';

// An `isOverload` that threw left the caller without an answer, with an unhandled rejection beside, where it had given a signal; without
// one its error took the place of the call's. The default reads properties of the error, which may be getters.

const hostile = Object.defineProperty(new Error('of the call'), 'code', {
  get() {
    throw new Error('of the getter');
  },
});

test.each([
  [
    'given',
    {
      isOverload: () => {
        throw new Error('of isOverload');
      },
    },
  ],
  ['by default', {}],
])('an isOverload that throws (%s) hides no error and keeps no caller', async (_what, options) => {
  const throttle = new ClientThrottle(options);
  for (const call of [{}, { signal: new AbortController().signal }]) {
    await expect(throttle.run(() => Promise.reject(hostile), call)).rejects.toThrow('of the call');
  }
  expect(throttle.stats()).toMatchObject({ requests: 2, accepts: 2 });
});
