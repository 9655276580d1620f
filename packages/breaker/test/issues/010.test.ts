import { CircuitBreaker } from '@x/breaker';
import { expect, test } from 'vitest';

// What was no function counted against the dependency, was called after the work was done, whose result was lost then, or was never heard of again.

test('what is no function to run is refused, and is no failure of the dependency', async () => {
  const breaker = new CircuitBreaker({ failureThreshold: 1 });
  const refused = new TypeError('@x/breaker: fn must be a function, got undefined');
  await expect(breaker.run(undefined as never)).rejects.toThrow(refused);
  await expect(breaker.run(undefined as never, {})).rejects.toThrow(refused);
  expect(() => breaker.wrap(undefined as never)).toThrow(refused);
  expect(breaker.stats()).toMatchObject({ state: 'closed', failures: 0, ignored: 0 });
});

test('a classify that is no function is refused before anything runs', async () => {
  const breaker = new CircuitBreaker();
  let ran = 0;
  const run = breaker.run(() => ++ran, { classify: 'ignore' as never });
  await expect(run).rejects.toThrow(new TypeError("@x/breaker: classify must be a function, got 'ignore'"));
  expect(ran).toBe(0);
});

test('an event that there is not, and a listener that is no function, are refused', () => {
  const breaker = new CircuitBreaker();
  const events = "'stateChange', 'rejected', 'late', 'permitLost'";
  expect(() => breaker.on('statechange' as never, () => {})).toThrow(
    new TypeError(`@x/breaker: event must be one of ${events}, got 'statechange'`),
  );
  expect(() => breaker.on('late', undefined as never)).toThrow(
    new TypeError('@x/breaker: listener must be a function, got undefined'),
  );
});
