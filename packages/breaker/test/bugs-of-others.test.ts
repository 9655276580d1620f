import { CircuitBreaker } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

const boom = new Error('boom');
const fail = () => Promise.reject(boom);

/** Calls that end when told to. */
function heldCalls(breaker: CircuitBreaker, count: number) {
  const ends: { succeed: () => void; fail: () => void }[] = [];
  const calls = Array.from({ length: count }, () =>
    breaker
      .run(() => new Promise<void>((resolve, reject) => ends.push({ succeed: resolve, fail: () => reject(boom) })))
      .catch(() => {}),
  );
  return { calls, ends };
}

function setUp() {
  const clock = new ManualClock();
  return { clock, breaker: new CircuitBreaker({ failureThreshold: 2, recoveryTimeoutMs: 1_000, clock }) };
}

describe('bugs of other breakers', () => {
  it('cockatiel #64: failures of minutes ago do not open a time window of seconds', async () => {
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({ window: { ms: 5_000 }, failureRate: 0.2, minimumCalls: 5, clock });
    for (let i = 0; i < 4; i += 1) breaker.tryAcquire()?.failure(boom);
    await clock.advance(600_000);
    for (let i = 0; i < 9; i += 1) await breaker.run(() => 'well');
    await breaker.run(fail).catch(() => {});
    expect(breaker.state).toBe('closed');
    await breaker.run(fail).catch(() => {});
    await breaker.run(fail).catch(() => {});
    expect(breaker.state).toBe('open');
  });

  it('opossum #276: a half-open circuit closes though fewer calls came than its minimum', async () => {
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({ window: { calls: 20 }, minimumCalls: 10, recoveryTimeoutMs: 1_000, clock });
    for (let i = 0; i < 10; i += 1) await breaker.run(fail).catch(() => {});
    await clock.advance(1_000);
    await expect(breaker.run(() => 'well')).resolves.toBe('well');
    expect(breaker.state).toBe('closed');
  });

  it('opossum #276, #385: failures that end together open the circuit once, and it is probed after', async () => {
    const { breaker, clock } = setUp();
    const { calls, ends } = heldCalls(breaker, 10);
    for (const end of ends) end.fail();
    await Promise.all(calls);
    expect(breaker.stats()).toMatchObject({ state: 'open', transitions: 1, failures: 2, late: 8 });
    await clock.advance(1_000);
    await expect(breaker.run(() => 'well')).resolves.toBe('well');
  });

  it('opossum #780: one caller that gives up does not end the others', async () => {
    const { breaker } = setUp();
    const controller = new AbortController();
    let end: (value: string) => void = () => {};
    const shared = new Promise<string>((resolve) => (end = resolve));
    const leaving = breaker.run(() => shared, { signal: controller.signal });
    const staying = breaker.run(() => shared, { signal: new AbortController().signal });
    controller.abort('gone');
    await expect(leaving).rejects.toBe('gone');
    end('value');
    await expect(staying).resolves.toBe('value');
  });

  it('opossum: a late success of the closed state does not close an open circuit', async () => {
    const { breaker, clock } = setUp();
    const { calls, ends } = heldCalls(breaker, 3);
    ends[0]?.fail();
    ends[1]?.fail();
    await clock.advance(1_500);
    const probe = breaker.tryAcquire();
    ends[2]?.succeed();
    await Promise.all(calls);
    expect(breaker.state).toBe('half-open');
    probe?.failure(boom);
    expect(breaker.state).toBe('open');
  });

  it('Polly #1979, resilience4j #903: a probe that never reports does not hold the circuit half-open for ever', async () => {
    const { breaker, clock } = setUp();
    for (let i = 0; i < 2; i += 1) await breaker.run(fail).catch(() => {});
    await clock.advance(1_000);
    heldCalls(breaker, 1);
    await clock.advance(1_000);
    await expect(breaker.run(() => 'well')).resolves.toBe('well');
    expect(breaker.state).toBe('closed');
  });

  it('deno std #7306: a probe of one half-open period says nothing in the next', async () => {
    const { breaker, clock } = setUp();
    for (let i = 0; i < 2; i += 1) await breaker.run(fail).catch(() => {});
    await clock.advance(1_000);
    const stale = breaker.tryAcquire();
    await clock.advance(1_000);
    breaker.tryAcquire()?.failure(boom);
    await clock.advance(1_000);
    const current = breaker.tryAcquire();
    stale?.success();
    expect(breaker.state).toBe('half-open');
    current?.success();
    expect(breaker.state).toBe('closed');
  });

  it('cockatiel: callers refused while a probe is out are not run when it succeeds', async () => {
    const { breaker, clock } = setUp();
    for (let i = 0; i < 2; i += 1) await breaker.run(fail).catch(() => {});
    await clock.advance(1_000);
    const { calls, ends } = heldCalls(breaker, 100);
    expect(ends).toHaveLength(1);
    ends[0]?.succeed();
    await Promise.all(calls);
    expect(ends).toHaveLength(1);
  });
});
