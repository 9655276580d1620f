import { CircuitBreaker } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// A listener that hears of the half-open state and takes the probe did not keep the call it was told by from being a second one.

test('a listener that takes the only probe leaves none for the call that made the circuit half-open', async () => {
  const clock = new ManualClock();
  const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 10, clock });
  breaker.tryAcquire()?.failure();
  clock.jump(10);
  const probes: unknown[] = [];
  breaker.on('stateChange', ({ to }) => {
    if (to === 'half-open') probes.push(breaker.tryAcquire());
  });
  await expect(breaker.run(() => 'second')).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
  expect(probes).toEqual([expect.anything()]);
});
