import { CircuitBreaker, type CircuitBreakerOptions, type SharedMember } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';

/** A breaker, and what a shared state sees of it. */
function joined(options: CircuitBreakerOptions) {
  let member: SharedMember | undefined;
  const circuit = { opened() {}, closed() {}, reset() {}, mayProbe: () => true, probing() {} };
  const join = (joining: SharedMember) => {
    member = joining;
    return circuit;
  };
  const breaker = new CircuitBreaker({ name: 'api', shared: { join }, ...options });
  return { breaker, member: member as SharedMember };
}

it('a breaker that is forced does not hear what others say', () => {
  const { breaker, member } = joined({});
  for (const force of ['forceOpen', 'forceClosed'] as const) {
    breaker[force]();
    const { state } = breaker;
    member.openedElsewhere(1_000, 1);
    expect(breaker.state).toBe(state);
    member.closedElsewhere();
    expect(breaker.state).toBe(state);
    expect(member.openForMs).toBe(0);
  }
});

it('a breaker that is open forgets neither its period nor its openings because others know less', () => {
  const clock = new ManualClock();
  const { breaker, member } = joined({ failureThreshold: 1, recoveryTimeoutMs: 10_000, clock });
  breaker.tryAcquire()?.failure();
  member.openedElsewhere(2_000, 0);
  expect(breaker.retryAfterMs).toBe(10_000);
  expect(member.openings).toBe(1);
  member.openedElsewhere(20_000, 7);
  expect(breaker.retryAfterMs).toBe(20_000);
  expect(member.openings).toBe(7);
});
