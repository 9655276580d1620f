import { CircuitBreaker, type CircuitBreakerOptions } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CountWindow, TimeWindow } from '../src/outcome-window.ts';

const boom = new Error('boom');

function setUp(options: CircuitBreakerOptions) {
  const clock = new ManualClock();
  const breaker = new CircuitBreaker({ recoveryTimeoutMs: 1_000, clock, ...options });
  const reasons: string[] = [];
  breaker.on('stateChange', ({ to, reason }) => reasons.push(`${to}: ${reason}`));
  const report = (outcomes: string) => {
    for (const outcome of outcomes) {
      const permit = breaker.tryAcquire();
      if (outcome === '.') permit?.success();
      else permit?.failure(boom);
    }
  };
  return { clock, breaker, report, reasons };
}

describe('a failure rate', () => {
  it('opens when the share in the last calls reaches it, and not below the minimum', () => {
    const { breaker, report, reasons } = setUp({ window: { calls: 10 }, failureRate: 0.5, minimumCalls: 4 });
    report('xxx');
    expect(breaker.state).toBe('closed');
    report('.');
    expect(breaker.state).toBe('open');
    expect(reasons).toEqual(['open: failure-rate']);
  });

  it('forgets what has left the window of calls', () => {
    const { breaker, report } = setUp({ window: { calls: 4 }, failureRate: 0.5 });
    report('x...x...x...x');
    expect(breaker.state).toBe('closed');
    report('x');
    expect(breaker.state).toBe('open');
  });

  it('is not diluted by calls in flight', () => {
    const { breaker, report } = setUp({ window: { calls: 4 }, failureRate: 0.5 });
    for (let i = 0; i < 100; i += 1) breaker.tryAcquire();
    report('.x.x');
    expect(breaker.state).toBe('open');
  });

  it('leaves failures in a row alone unless a threshold is given too; then either rule opens', () => {
    const rate = setUp({ window: { calls: 100 }, minimumCalls: 50 });
    rate.report('xxxxxxxxxx');
    expect(rate.breaker.state).toBe('closed');
    const both = setUp({ window: { calls: 100 }, minimumCalls: 50, failureThreshold: 3 });
    both.report('.xxx');
    expect(both.reasons).toEqual(['open: failure-threshold']);
  });

  it('decides a half-open period: closes with fewer than its share of failures, reopens as soon as there are so many', async () => {
    const options = { window: { calls: 2 }, failureRate: 0.5, halfOpenCalls: 4 };
    const passing = setUp(options);
    passing.report('xx');
    await passing.clock.advance(1_000);
    passing.report('x..');
    expect(passing.breaker.state).toBe('half-open');
    passing.report('.');
    expect(passing.breaker.state).toBe('closed');
    const failing = setUp(options);
    failing.report('xx');
    await failing.clock.advance(1_000);
    failing.report('.xx');
    expect(failing.reasons.at(-1)).toBe('open: probe-failed');
  });
});

describe('several rules at once', () => {
  it('each reopen a half-open circuit: any failure where failures in a row count', async () => {
    const { clock, report, reasons } = setUp({ window: { calls: 2 }, failureThreshold: 2, halfOpenCalls: 4 });
    report('xx');
    await clock.advance(1_000);
    report('.x');
    expect(reasons.at(-1)).toBe('open: probe-failed');
  });

  it('open by the rate, by failures in a row and by slowness, whichever comes first', async () => {
    const options = { window: { calls: 10 }, failureThreshold: 3, failureRate: 0.4, slowCall: { ms: 50, rate: 0.5 } };
    const row = setUp(options);
    row.report('xxx');
    expect(row.reasons).toEqual(['open: failure-threshold']);
    const rate = setUp(options);
    rate.report('xx..xx....');
    expect(rate.reasons).toEqual(['open: failure-rate']);
    const slow = setUp(options);
    const permits = Array.from({ length: 10 }, () => slow.breaker.tryAcquire());
    for (const permit of permits.slice(5)) permit?.success();
    await slow.clock.advance(50);
    for (const permit of permits.slice(0, 5)) permit?.success();
    expect(slow.reasons).toEqual(['open: slow-call-rate']);
  });
});

describe('a rate', () => {
  it.each([0.07, 0.14, 0.28, 0.29, 0.55, 0.56, 0.57, 0.58, 1])(
    'of %f is reached by just so many of 100, in a window and in a half-open period',
    async (failureRate) => {
      const failures = Math.round(failureRate * 100);
      const { breaker, report, clock } = setUp({
        window: { calls: 100 },
        minimumCalls: 100,
        failureRate,
        halfOpenCalls: 100,
      });
      report('.'.repeat(101 - failures) + 'x'.repeat(failures - 1));
      expect(breaker.state).toBe('closed');
      report('x');
      expect(breaker.state).toBe('open');
      await clock.advance(1_000);
      report('x'.repeat(failures - 1));
      expect(breaker.state).toBe('half-open');
      report('x');
      expect(breaker.state).toBe('open');
    },
  );
});

describe('a time window', () => {
  it('forgets what is older than the window, however long the breaker was idle', async () => {
    const { breaker, report, clock } = setUp({ window: { ms: 5_000 }, failureRate: 0.5, minimumCalls: 5 });
    report('....');
    report('xxx');
    await clock.advance(600_000);
    report('....x');
    expect(breaker.state).toBe('closed');
  });

  it('keeps what is within it', async () => {
    const { breaker, report, clock } = setUp({ window: { ms: 5_000 }, failureRate: 0.5, minimumCalls: 4 });
    report('xx');
    await clock.advance(4_000);
    report('.x');
    expect(breaker.state).toBe('open');
  });

  it('loses nothing to a clock that is set back', () => {
    const window = new TimeWindow(1_000, 10);
    for (const now of [1_000, 1_050, 400, 1_100]) window.add(true, false, now);
    expect(window).toMatchObject({ calls: 4, failures: 4 });
    window.add(false, false, 2_099);
    expect(window).toMatchObject({ calls: 2, failures: 1 });
  });

  it('agrees with a list of time stamps, at any bucket count and pace', () => {
    const steps = fc.array(
      fc.record({ wait: fc.integer({ min: 0, max: 400 }), failed: fc.boolean(), slow: fc.boolean() }),
      { maxLength: 100, size: 'max' },
    );
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 13 }), (all, buckets) => {
        const width = 1_000 / buckets;
        const window = new TimeWindow(1_000, buckets);
        let now = 500;
        const seen: { bucket: number; failed: boolean; slow: boolean }[] = [];
        for (const { wait, failed, slow } of all) {
          now += wait;
          const bucket = Math.floor(now / width);
          seen.push({ bucket, failed, slow });
          window.add(failed, slow, now);
          const live = seen.filter((one) => one.bucket > bucket - buckets);
          expect([window.calls, window.failures, window.slow]).toEqual([
            live.length,
            live.filter((one) => one.failed).length,
            live.filter((one) => one.slow).length,
          ]);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('a count window', () => {
  it('agrees with the last entries of a list', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.boolean()), { maxLength: 60, size: 'max' }),
        fc.integer({ min: 1, max: 12 }),
        (all, size) => {
          const window = new CountWindow(size);
          all.forEach(([failed, slow], i) => {
            window.add(failed, slow);
            const live = all.slice(Math.max(0, i + 1 - size), i + 1);
            expect([window.calls, window.failures, window.slow]).toEqual([
              live.length,
              live.filter(([one]) => one).length,
              live.filter(([, one]) => one).length,
            ]);
          });
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('slow calls', () => {
  it('open the circuit when their share reaches the rate, successes though they are', async () => {
    const { breaker, clock, reasons } = setUp({ window: { calls: 4 }, slowCall: { ms: 100, rate: 0.5 } });
    for (const tookMs of [99, 99, 100, 250]) {
      const call = breaker.run(() => new Promise((resolve) => clock.setTimeout(() => resolve(1), tookMs)));
      await clock.advance(tookMs);
      await call;
    }
    expect(reasons).toEqual(['open: slow-call-rate']);
  });

  it('reopen a half-open circuit', async () => {
    const { breaker, clock, report } = setUp({ window: { calls: 2 }, slowCall: { ms: 100, rate: 1 } });
    report('xx');
    await clock.advance(1_000);
    const permit = breaker.tryAcquire();
    await clock.advance(100);
    permit?.success();
    expect(breaker.state).toBe('open');
  });
});

describe('the open period', () => {
  it('grows with each opening up to maxMs, and starts anew after a recovery', async () => {
    const { breaker, report, clock } = setUp({ failureThreshold: 1, recoveryBackoff: { factor: 2, maxMs: 3_000 } });
    const periods: number[] = [];
    for (let i = 0; i < 4; i += 1) {
      report('x');
      periods.push(breaker.retryAfterMs);
      await clock.advance(breaker.retryAfterMs);
    }
    report('.x');
    periods.push(breaker.retryAfterMs);
    expect(periods).toEqual([1_000, 2_000, 3_000, 3_000, 1_000]);
  });

  it('loses up to its jitter at random', () => {
    const { breaker, report } = setUp({
      failureThreshold: 1,
      recoveryBackoff: { factor: 1, maxMs: 1_000, jitter: 0.4 },
      random: () => 0.5,
    });
    report('x');
    expect(breaker.retryAfterMs).toBe(800);
  });
});

describe('wrong options throw, with package, option, what was expected and what was got', () => {
  it.each<[CircuitBreakerOptions, string]>([
    [{ failureThreshold: 0 }, '@x/breaker: failureThreshold must be an integer >= 1, got 0'],
    [{ failureThreshold: Number.NaN }, 'failureThreshold'],
    [{ halfOpenCalls: 1.5 }, 'halfOpenCalls'],
    [{ recoveryTimeoutMs: -1 }, 'recoveryTimeoutMs'],
    [{ probeLeaseMs: 0 }, 'probeLeaseMs'],
    [{ window: { calls: 0 } }, 'window.calls'],
    [{ window: { ms: Number.POSITIVE_INFINITY } }, 'window.ms'],
    [{ window: { ms: 1_000, buckets: 0 } }, 'window.buckets'],
    [{ window: { calls: 10 }, minimumCalls: 11 }, 'minimumCalls must be an integer from 1 to 10, got 11'],
    [{ window: { calls: 10 }, failureRate: 0 }, 'failureRate'],
    [{ window: { calls: 10 }, failureRate: 50 }, 'failureRate'],
    [{ window: { calls: 10 }, slowCall: { ms: 10, rate: 2 } }, 'slowCall.rate'],
    [{ failureRate: 0.5 }, 'window must be given with failureRate'],
    [{ slowCall: { ms: 1, rate: 1 } }, 'window must be given with slowCall'],
    [{ recoveryBackoff: { factor: 0.5, maxMs: 1e6 } }, 'recoveryBackoff.factor'],
    [{ recoveryBackoff: { factor: 2, maxMs: 1 } }, 'recoveryBackoff.maxMs'],
    [{ recoveryBackoff: { factor: 2, maxMs: 1e6, jitter: 2 } }, 'recoveryBackoff.jitter'],
    [{ classify: 'failure' as never }, 'classify must be a function'],
  ])('%j', (options, message) => {
    expect(() => new CircuitBreaker(options)).toThrow(message);
  });

  it('while an option set to undefined counts as absent', () => {
    const options = {
      failureThreshold: undefined,
      window: undefined,
      classify: undefined,
      clock: undefined,
      name: undefined,
      recoveryTimeoutMs: undefined,
    };
    expect(new CircuitBreaker(options).state).toBe('closed');
  });
});
