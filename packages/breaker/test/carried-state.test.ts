import { type BreakerSnapshot, CircuitBreaker } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

const WALL = Date.UTC(2026, 5, 1);

function opened(clock: ManualClock): CircuitBreaker {
  const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 10_000, clock });
  breaker.tryAcquire()?.failure(new Error('boom'));
  return breaker;
}

describe('toJSON and initialState', () => {
  it('carry an open circuit into a process with another monotonic clock, for the time that remains', async () => {
    const clock = new ManualClock({ now: 5, wallNow: WALL });
    const breaker = opened(clock);
    await clock.advance(4_000);
    const text = JSON.stringify(breaker);
    const elsewhere = new ManualClock({ now: 9e9, wallNow: WALL + 5_000 });
    const restored = new CircuitBreaker({
      recoveryTimeoutMs: 10_000,
      clock: elsewhere,
      initialState: JSON.parse(text),
    });
    expect(restored.state).toBe('open');
    expect(restored.retryAfterMs).toBe(5_000);
    await elsewhere.advance(5_000);
    expect(restored.state).toBe('half-open');
    restored.tryAcquire()?.success();
    expect(restored.state).toBe('closed');
  });

  it('carry how often the circuit has opened, and forced states', () => {
    const clock = new ManualClock({ wallNow: WALL });
    const state: BreakerSnapshot = { version: 1, state: 'open', openUntil: WALL, openings: 2 };
    const options = { recoveryTimeoutMs: 1_000, recoveryBackoff: { factor: 2, maxMs: 60_000 }, clock };
    const restored = new CircuitBreaker({ ...options, initialState: state });
    restored.tryAcquire()?.failure(1);
    expect(restored.retryAfterMs).toBe(4_000);
    restored.forceOpen();
    expect(new CircuitBreaker({ ...options, initialState: restored.toJSON() }).state).toBe('forced-open');
  });

  it('of a half-open circuit restore one that may be probed at once', async () => {
    const clock = new ManualClock();
    const breaker = opened(clock);
    await clock.advance(10_000);
    breaker.tryAcquire();
    const restored = new CircuitBreaker({ clock, initialState: breaker.toJSON() });
    expect(restored.tryAcquire()).toBeDefined();
    expect(restored.tryAcquire()).toBeUndefined();
  });

  it('never keep a circuit open longer than the options allow', () => {
    const clock = new ManualClock({ wallNow: WALL });
    const initialState: BreakerSnapshot = { version: 1, state: 'open', openUntil: WALL + 1e12, openings: 1 };
    expect(new CircuitBreaker({ clock, initialState, maxRetryAfterMs: 120_000 }).retryAfterMs).toBe(120_000);
    const options = {
      recoveryTimeoutMs: 1_000,
      recoveryBackoff: { factor: 2, maxMs: 240_000 },
      maxRetryAfterMs: 120_000,
    };
    expect(new CircuitBreaker({ clock, initialState, ...options }).retryAfterMs).toBe(240_000);
  });

  it('count openings up to a number that is enough for any backoff', () => {
    const initialState: BreakerSnapshot = { version: 1, state: 'open', openUntil: 0, openings: 1_000_000 };
    const breaker = new CircuitBreaker({ initialState });
    breaker.tryAcquire()?.failure(1);
    expect(breaker.toJSON().openings).toBe(1_000_000);
  });

  it.each([
    null,
    'open',
    {},
    { version: 2, state: 'open', openUntil: 1, openings: 1 },
    { version: 1, state: 'ajar', openUntil: 1, openings: 1 },
    { version: 1, state: 'open', openUntil: '1', openings: 1 },
    { version: 1, state: 'open', openUntil: 1, openings: -1 },
  ])('refuse %j', (garbage) => {
    expect(() => new CircuitBreaker({ initialState: garbage as never })).toThrow(/@x\/breaker: initialState must be/);
  });
});
