import { CircuitBreaker } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

const boom = new Error('boom');

function setUp() {
  const clock = new ManualClock();
  return { clock, breaker: new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 1_000, clock }) };
}

describe('events', () => {
  it('tell each change of state with its reason, and refusals', async () => {
    const { breaker, clock } = setUp();
    const log: unknown[] = [];
    breaker.on('stateChange', ({ from, to, reason }) => log.push(`${from} > ${to}: ${reason}`));
    breaker.on('rejected', (event) => log.push(event));
    await breaker.run(() => Promise.reject(boom)).catch(() => {});
    await clock.advance(400);
    expect(breaker.tryAcquire()).toBeUndefined();
    await clock.advance(600);
    await breaker.run(() => 1);
    breaker.forceOpen();
    breaker.forceOpen();
    breaker.reset();
    expect(log).toEqual([
      'closed > open: failure-threshold',
      { state: 'open', retryAfterMs: 600 },
      'open > half-open: recovery-timeout',
      'half-open > closed: probe-passed',
      'closed > forced-open: forced',
      'forced-open > closed: reset',
    ]);
  });

  it('are not told after unsubscribing, and a function added twice is called twice', () => {
    const { breaker } = setUp();
    let told = 0;
    const listener = () => {
      told += 1;
    };
    const stop = breaker.on('stateChange', listener);
    breaker.on('stateChange', listener);
    breaker.forceOpen();
    stop();
    stop();
    breaker.reset();
    expect(told).toBe(3);
  });

  it('never break the call when a listener throws', async () => {
    const { breaker } = setUp();
    const told: string[] = [];
    breaker.on('stateChange', () => {
      throw new Error('listener');
    });
    breaker.on('stateChange', ({ to }) => told.push(to));
    await expect(breaker.run(() => Promise.reject(boom))).rejects.toBe(boom);
    expect(told).toEqual(['open']);
  });

  it('may change the state again', async () => {
    const { breaker, clock } = setUp();
    breaker.on('stateChange', ({ to }) => {
      if (to === 'half-open') breaker.forceOpen();
    });
    await breaker.run(() => Promise.reject(boom)).catch(() => {});
    await clock.advance(1_000);
    await expect(breaker.run(() => 1)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
    expect(breaker.state).toBe('forced-open');
  });
});
