import { BreakerRegistry, CircuitBreaker } from '@x/breaker';
import { expect, test } from 'vitest';

// Where thousands of circuits were open, each new key looked at every one of them.

test('a new key looks at a bounded number of the circuits that are open, and later ones find what may be forgotten', () => {
  let looks = 0;
  class Watched extends CircuitBreaker {
    override get state() {
      looks += 1;
      return super.state;
    }
  }
  const registry = new BreakerRegistry({ max: 1_000, create: (name) => new Watched({ name, failureThreshold: 1 }) });
  for (let n = 0; n < 1_000; n += 1) registry.get(`host ${n}`).tryAcquire()?.failure();
  registry.get('host 500').reset();
  looks = 0;
  registry.get('new 0');
  expect(looks).toBeLessThan(200);
  for (let n = 1; n < 20; n += 1) registry.get(`new ${n}`);
  const kept = new Set([...registry].map(([key]) => key));
  expect(kept.has('host 500')).toBe(false);
  expect(kept.size).toBe(1_000);
  // Nothing that is open has gone.
  expect([...kept].filter((key) => key.startsWith('host'))).toHaveLength(999);
});
