import { inspect } from 'node:util';
import { CircuitBreaker, type CircuitBreakerOptions } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

const boom = new Error('boom');
const fail = () => Promise.reject(boom);
const succeed = async () => 'ok';

function setUp(options: CircuitBreakerOptions = {}) {
  const clock = new ManualClock();
  const breaker = new CircuitBreaker({ name: 'api', failureThreshold: 3, recoveryTimeoutMs: 1_000, clock, ...options });
  return { clock, breaker };
}

async function trip(breaker: CircuitBreaker, failures = 3): Promise<void> {
  for (let i = 0; i < failures; i += 1) await expect(breaker.run(fail)).rejects.toBe(boom);
}

describe('a closed circuit', () => {
  it('returns what the function returns and passes its error through unchanged', async () => {
    const { breaker } = setUp();
    await expect(breaker.run(succeed)).resolves.toBe('ok');
    await expect(breaker.run(() => 7)).resolves.toBe(7);
    await expect(breaker.run(fail)).rejects.toBe(boom);
    expect(breaker.state).toBe('closed');
  });

  it('opens after five failures in a row by default, and not before', async () => {
    const breaker = new CircuitBreaker();
    await trip(breaker, 4);
    expect(breaker.state).toBe('closed');
    await trip(breaker, 1);
    expect(breaker.state).toBe('open');
  });

  it('counts failures in a row: a success between starts the count again', async () => {
    const { breaker } = setUp();
    await trip(breaker, 2);
    await breaker.run(succeed);
    await trip(breaker, 2);
    expect(breaker.state).toBe('closed');
  });

  it('counts when the promise is settled, not when the call is made', async () => {
    const { breaker } = setUp({ failureThreshold: 1 });
    const held = deferred();
    const call = breaker.run(() => held.promise);
    expect(breaker.stats()).toMatchObject({ successes: 0, failures: 0 });
    held.reject(boom);
    await expect(call).rejects.toBe(boom);
    expect(breaker.state).toBe('open');
  });

  it('turns a synchronous throw into a rejection and counts it', async () => {
    const { breaker } = setUp({ failureThreshold: 1 });
    const call = breaker.run(() => {
      throw boom;
    });
    await expect(call).rejects.toBe(boom);
    expect(breaker.state).toBe('open');
  });
});

describe('an open circuit', () => {
  it('refuses without calling, with the code, the time to wait, the name and the last failure', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(400);
    let called = false;
    const error = await breaker.run(() => (called = true)).catch((thrown) => thrown);
    expect(called).toBe(false);
    expect(error).toMatchObject({
      name: 'CircuitOpenError',
      code: 'ERR_CIRCUIT_OPEN',
      retryAfterMs: 600,
      dependency: 'api',
      cause: boom,
    });
    expect(error.message).toContain('api');
    expect(breaker.retryAfterMs).toBe(600);
    expect(breaker.stats()).toMatchObject({
      state: 'open',
      failures: 3,
      rejected: 1,
      transitions: 1,
      retryAfterMs: 600,
      openedAt: clock.wallNow() - 400,
    });
  });

  it('refuses with an error that logs and serialises well: the cause is shown, and in no JSON', async () => {
    const { breaker } = setUp({ failureThreshold: 1 });
    await trip(breaker, 1);
    const error = await breaker.run(succeed).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(inspect(error)).toMatch(
      /CircuitOpenError: circuit "api" is open: retry in \d+ ms[\s\S]*\[cause\]: Error: boom/,
    );
    expect(JSON.stringify(error)).not.toContain('boom');
  });

  it('refuses so that nothing is unhandled when the caller listens, and something is when nobody does', async () => {
    const { breaker } = setUp();
    breaker.forceOpen();
    const seen: unknown[] = [];
    const note = (reason: unknown) => seen.push(reason);
    const others = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', note);
    try {
      await breaker.run(succeed).catch(() => {});
      await new Promise((resolve) => setImmediate(resolve));
      expect(seen).toEqual([]);
      void breaker.run(succeed);
      await new Promise((resolve) => setImmediate(resolve));
      expect(seen).toEqual([expect.objectContaining({ code: 'ERR_CIRCUIT_OPEN' })]);
    } finally {
      process.off('unhandledRejection', note);
      for (const listener of others) process.on('unhandledRejection', listener);
    }
  });

  it('captures no stack for a refusal unless asked, and leaves the limit as it was', async () => {
    const limit = Error.stackTraceLimit;
    const { breaker } = setUp({ failureThreshold: 1 });
    await trip(breaker, 1);
    const lean = await breaker.run(succeed).catch((error) => error);
    expect(lean.stack).not.toContain('\n    at ');
    expect(Error.stackTraceLimit).toBe(limit);
    const { breaker: talkative } = setUp({ failureThreshold: 1, stackTraces: true });
    await trip(talkative, 1);
    expect((await talkative.run(succeed).catch((error) => error)).stack).toContain('\n    at ');
  });

  it('waits on monotonic time: a wall clock that is set back or forward changes nothing', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    clock.stepWall(3_600_000);
    expect(breaker.state).toBe('open');
    clock.stepWall(-7_200_000);
    await clock.advance(1_000);
    await expect(breaker.run(succeed)).resolves.toBe('ok');
    expect(breaker.state).toBe('closed');
  });

  it('needs no timer', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    expect(clock.pendingTimers).toBe(0);
    expect(breaker.state).toBe('open');
    clock.jump(1_000);
    expect(breaker.state).toBe('half-open');
    expect(breaker.retryAfterMs).toBe(0);
  });
});

describe('a half-open circuit', () => {
  it('admits exactly one probe of a crowd by default, and refuses the others at once', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(1_000);
    const held = deferred<string>();
    let running = 0;
    const crowd = Array.from({ length: 100 }, () =>
      breaker.run(() => {
        running += 1;
        return held.promise;
      }),
    );
    const refused = await Promise.allSettled(crowd.slice(1));
    expect(running).toBe(1);
    expect(refused.every((result) => result.status === 'rejected' && result.reason.code === 'ERR_CIRCUIT_OPEN')).toBe(
      true,
    );
    held.resolve('well');
    await expect(crowd[0]).resolves.toBe('well');
    expect(breaker.state).toBe('closed');
  });

  it('admits halfOpenCalls probes, and closes when all of them have succeeded', async () => {
    const { breaker, clock } = setUp({ halfOpenCalls: 3 });
    await trip(breaker);
    await clock.advance(1_000);
    const permits = [1, 2, 3, 4].map(() => breaker.tryAcquire());
    expect(permits.map((permit) => permit !== undefined)).toEqual([true, true, true, false]);
    permits[0]?.success();
    expect(breaker.tryAcquire()).toBeUndefined();
    permits[1]?.success();
    expect(breaker.state).toBe('half-open');
    permits[2]?.success();
    expect(breaker.state).toBe('closed');
  });

  it('reopens at the first failure, for the whole period, and drops what the other probes say', async () => {
    const { breaker, clock } = setUp({ halfOpenCalls: 2 });
    await trip(breaker);
    await clock.advance(1_500);
    const [first, second] = [breaker.tryAcquire(), breaker.tryAcquire()];
    first?.failure(boom);
    expect(breaker.state).toBe('open');
    expect(breaker.retryAfterMs).toBe(1_000);
    second?.success();
    expect(breaker.state).toBe('open');
    expect(breaker.stats().late).toBe(1);
  });

  it('starts from nothing once closed again', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(1_000);
    await breaker.run(succeed);
    await trip(breaker, 2);
    expect(breaker.state).toBe('closed');
  });

  it('gives a probe that is ignored back without a verdict', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(1_000);
    breaker.tryAcquire()?.ignore();
    expect(breaker.state).toBe('half-open');
    expect(breaker.tryAcquire()).toBeDefined();
  });

  it('lets only the calls that `admit` allows be probes', async () => {
    const { breaker, clock } = setUp({
      admit: (context) => (context as { readOnlyHint?: boolean })?.readOnlyHint === true,
    });
    await expect(breaker.run(succeed)).resolves.toBe('ok');
    await trip(breaker);
    await clock.advance(1_000);
    await expect(breaker.run(succeed)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
    await expect(breaker.run(succeed, { context: { readOnlyHint: true } })).resolves.toBe('ok');
    expect(breaker.state).toBe('closed');
  });

  it('sends no probe for a call of which `admit` knows nothing, and does not call it back at once', async () => {
    const admit = (context: unknown) => (context as { readOnlyHint?: boolean } | undefined)?.readOnlyHint as boolean;
    const { breaker, clock } = setUp({ admit });
    await trip(breaker);
    await clock.advance(1_000);
    for (const options of [undefined, {}, { context: {} }]) {
      await expect(breaker.run(succeed, options)).rejects.toMatchObject({
        code: 'ERR_CIRCUIT_OPEN',
        retryAfterMs: 1_000,
      });
      expect(breaker.tryAcquire(options)).toBeUndefined();
    }
    expect(breaker.retryAfterMs).toBe(0);
  });

  it('asks `admit` anew when it has changed the state', async () => {
    let change = () => {};
    const admit = () => {
      change();
      return true;
    };
    const { breaker, clock } = setUp({ admit });
    for (const [to, admitted] of [
      ['forceOpen', false],
      ['forceClosed', true],
      ['reset', true],
    ] as const) {
      breaker.reset();
      await trip(breaker);
      await clock.advance(1_000);
      change = () => breaker[to]();
      expect(breaker.tryAcquire() !== undefined, to).toBe(admitted);
    }
  });

  it('takes the permit of a probe that never ends away after its lease, and ignores what it says later', async () => {
    const { breaker, clock } = setUp({ probeLeaseMs: 200 });
    const lost: number[] = [];
    breaker.on('permitLost', ({ leaseMs }) => lost.push(leaseMs));
    await trip(breaker);
    await clock.advance(1_000);
    const hung = breaker.tryAcquire();
    await clock.advance(199);
    expect(breaker.retryAfterMs).toBe(1);
    expect(breaker.tryAcquire()).toBeUndefined();
    await clock.advance(1);
    const second = breaker.tryAcquire();
    expect(second).toBeDefined();
    expect(lost).toEqual([200]);
    hung?.success();
    expect(breaker.state).toBe('half-open');
    second?.success();
    expect(breaker.state).toBe('closed');
    expect(breaker.stats()).toMatchObject({ late: 1, permitsLost: 1 });
  });

  it('ignores a probe that ends after its lease also when nobody else has asked', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(1_000);
    const slow = breaker.tryAcquire();
    await clock.advance(1_000);
    slow?.success();
    expect(breaker.state).toBe('half-open');
    expect(breaker.stats()).toMatchObject({ late: 1, permitsLost: 1 });
  });
});

describe('forced states', () => {
  it('stay until changed: forced open refuses for ever, forced closed admits whatever fails', async () => {
    const { breaker, clock } = setUp();
    breaker.forceOpen();
    await clock.advance(1e9);
    const error = await breaker.run(succeed).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_CIRCUIT_OPEN', retryAfterMs: undefined });
    expect(breaker.state).toBe('forced-open');
    expect(breaker.retryAfterMs).toBe(Number.POSITIVE_INFINITY);
    breaker.forceClosed();
    await trip(breaker, 50);
    expect(breaker.state).toBe('forced-closed');
    breaker.reset();
    expect(breaker.state).toBe('closed');
    await trip(breaker, 2);
    expect(breaker.state).toBe('closed');
  });

  it('are not left because of a probe that is out', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(1_000);
    const probe = breaker.tryAcquire();
    breaker.forceOpen();
    probe?.success();
    expect(breaker.state).toBe('forced-open');
  });
});

describe('what a refusal and the statistics say', () => {
  it('is of this time only: neither the last failure nor the opening of an earlier one', async () => {
    const { breaker, clock } = setUp();
    await trip(breaker);
    await clock.advance(1_000);
    await breaker.run(succeed);
    await clock.advance(1_000);
    breaker.forceOpen();
    const error = await breaker.run(succeed).catch((thrown) => thrown);
    expect(error.cause).toBeUndefined();
    expect(breaker.stats().openedAt).toBe(clock.wallNow());
  });
});

describe('a permit', () => {
  it('is one-shot: only the first report counts', () => {
    const { breaker } = setUp({ failureThreshold: 1 });
    const permit = breaker.tryAcquire();
    permit?.success();
    permit?.failure(boom);
    permit?.release();
    expect(breaker.state).toBe('closed');
    expect(breaker.stats()).toMatchObject({ successes: 1, failures: 0, ignored: 0 });
  });

  it('is released by disposal, and carries the failure and its Retry-After', async () => {
    const { breaker } = setUp();
    breaker.tryAcquire()?.[Symbol.dispose]();
    expect(breaker.stats().ignored).toBe(1);
    breaker.tryAcquire()?.failure(boom, 250);
    expect(breaker.state).toBe('open');
    expect(breaker.retryAfterMs).toBe(250);
    await expect(breaker.run(succeed)).rejects.toMatchObject({ cause: boom });
  });
});

function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
