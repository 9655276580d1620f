import { getEventListeners } from 'node:events';
import { CircuitBreaker } from '@x/breaker';
import { expect, test } from 'vitest';

// Each call hung a listener of its own on its signal: Node warned of a leak at the eleventh call of one request.
test('calls that share a signal hang one listener on it, leave together, and leave nothing behind', async () => {
  const breaker = new CircuitBreaker();
  const caller = new AbortController();
  const listeners = () => getEventListeners(caller.signal, 'abort').length;
  const ended = Array.from({ length: 20 }, (_, i) => breaker.run(async () => i, { signal: caller.signal }));
  expect(listeners()).toBe(1);
  expect(await Promise.all(ended)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(listeners()).toBe(0);

  const never = () => new Promise<never>(() => {});
  const first = breaker.run(async () => 'first', { signal: caller.signal });
  const left = Array.from({ length: 20 }, () =>
    breaker.run(never, { signal: caller.signal }).catch((error: unknown) => error),
  );
  // That one of them has ended is nothing to the others.
  expect(await first).toBe('first');
  expect(listeners()).toBe(1);
  caller.abort('gone');
  expect(await Promise.all(left)).toEqual(new Array(20).fill('gone'));
  expect(breaker.stats()).toMatchObject({ successes: 21, failures: 0, ignored: 20 });
});
