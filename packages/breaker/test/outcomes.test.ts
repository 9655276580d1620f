import { getEventListeners } from 'node:events';
import { CircuitBreaker, type Verdict } from '@x/breaker';
import { classifyHttp } from '@x/breaker/http';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

const rejectWith = (error: unknown) => () => Promise.reject(error);

describe('which outcomes count', () => {
  it('is decided by `classify` for errors', async () => {
    const breaker = new CircuitBreaker({
      failureThreshold: 1,
      classify: (outcome) => ('error' in outcome && outcome.error instanceof RangeError ? 'failure' : 'ignore'),
    });
    await expect(breaker.run(rejectWith(new TypeError('mine')))).rejects.toThrow('mine');
    expect(breaker.state).toBe('closed');
    await expect(breaker.run(rejectWith(new RangeError('theirs')))).rejects.toThrow('theirs');
    expect(breaker.state).toBe('open');
    expect(breaker.stats()).toMatchObject({ ignored: 1, failures: 1, successes: 0 });
  });

  it('is decided by `classify` for results too, and the result is returned unchanged', async () => {
    const breaker = new CircuitBreaker({
      failureThreshold: 2,
      classify: (outcome) => ('value' in outcome && outcome.value === 'bad' ? 'failure' : 'success'),
    });
    await expect(breaker.run(() => 'bad')).resolves.toBe('bad');
    await expect(breaker.run(() => 'bad')).resolves.toBe('bad');
    expect(breaker.state).toBe('open');
  });

  it('does not count what is ignored, neither as failure nor as success', async () => {
    const verdicts: Verdict[] = ['failure', 'ignore', 'failure'];
    const breaker = new CircuitBreaker({ failureThreshold: 2, classify: () => verdicts.shift() ?? 'success' });
    for (let i = 0; i < 3; i += 1) await breaker.run(() => i);
    expect(breaker.state).toBe('open');
  });

  it('by default counts time-outs, but neither aborts nor refusals made on this side', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 });
    const codes = ['ABORT_ERR', 'ERR_CIRCUIT_OPEN', 'ERR_OVERLOADED', 'ERR_RATE_LIMITED'];
    const coded = codes.map((code) => Object.assign(new Error(code), { code }));
    for (const error of [new DOMException('gone', 'AbortError'), ...coded]) {
      await expect(breaker.run(rejectWith(error))).rejects.toBe(error);
    }
    expect(breaker.state).toBe('closed');
    expect(breaker.stats().ignored).toBe(5);
    await expect(breaker.run(rejectWith(new DOMException('late', 'TimeoutError')))).rejects.toThrow('late');
    expect(breaker.state).toBe('open');
  });

  it('counts rejections that are no errors: undefined, null, text', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 3 });
    for (const reason of [undefined, null, 'text']) await expect(breaker.run(rejectWith(reason))).rejects.toBe(reason);
    expect(breaker.state).toBe('open');
  });

  it('hands the permit back and shows the error when `classify` itself throws', async () => {
    let broken = false;
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({
      failureThreshold: 1,
      recoveryTimeoutMs: 100,
      clock,
      classify: () => {
        if (broken) throw new Error('classifier');
        return 'failure';
      },
    });
    await breaker.run(() => 1);
    await clock.advance(100);
    broken = true;
    await expect(breaker.run(() => 1)).rejects.toThrow('classifier');
    expect(breaker.tryAcquire()).toBeDefined();
  });

  it('opens at once for as long as a failure asks, at most `maxRetryAfterMs`', async () => {
    const clock = new ManualClock();
    let retryAfterMs = 2_500;
    const breaker = new CircuitBreaker({
      clock,
      maxRetryAfterMs: 10_000,
      classify: () => ({ failure: true, retryAfterMs }),
    });
    await breaker.run(() => 1);
    expect(breaker.state).toBe('open');
    expect(breaker.retryAfterMs).toBe(2_500);
    await clock.advance(2_500);
    retryAfterMs = 1e12;
    await breaker.run(() => 1);
    expect(breaker.retryAfterMs).toBe(10_000);
  });
});

describe('cancellation', () => {
  it('with a signal that is already aborted runs nothing and takes no permit', async () => {
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 10, clock });
    await expect(breaker.run(rejectWith(new Error('x')))).rejects.toThrow();
    await clock.advance(10);
    const reason = new Error('changed my mind');
    let called = false;
    const call = breaker.run(() => (called = true), { signal: AbortSignal.abort(reason) });
    await expect(call).rejects.toBe(reason);
    expect(called).toBe(false);
    expect(breaker.tryAcquire()).toBeDefined();
  });

  it('rejects an aborted caller at once with the reason, though the function goes on, and counts nothing', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 });
    const controller = new AbortController();
    let fail: (error: unknown) => void = () => {};
    const call = breaker.run(() => new Promise((_, reject) => (fail = reject)), { signal: controller.signal });
    controller.abort('bored');
    await expect(call).rejects.toBe('bored');
    fail(new Error('nobody listens'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(breaker.state).toBe('closed');
    expect(breaker.stats()).toMatchObject({ ignored: 1, failures: 0 });
  });

  it('gives `fn` the signal, one that never aborts if the caller brought none', async () => {
    const breaker = new CircuitBreaker();
    const { signal } = new AbortController();
    expect(await breaker.run((context) => context.signal, { signal })).toBe(signal);
    const own = await breaker.run((context) => context.signal);
    expect(own.aborted).toBe(false);
  });

  it('leaves no listener on the signal', async () => {
    const breaker = new CircuitBreaker();
    const { signal } = new AbortController();
    await breaker.run(() => 1, { signal });
    await breaker.run(rejectWith(1), { signal }).catch(() => {});
    const throwAtOnce = () => {
      throw new Error('at once');
    };
    await breaker.run(throwAtOnce, { signal }).catch(() => {});
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});

describe('wrap', () => {
  it('keeps arguments, `this`, result and errors', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 });
    const thing = {
      factor: 3,
      times: breaker.wrap(async function (this: { factor: number }, n: number) {
        if (n < 0) throw new RangeError('negative');
        return this.factor * n;
      }),
    };
    await expect(thing.times(2)).resolves.toBe(6);
    await expect(thing.times(-1)).rejects.toThrow('negative');
    await expect(thing.times(2)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
  });
});

describe('classifyHttp', () => {
  it.each([
    [{ value: { status: 200 } }, 'success'],
    [{ value: { statusCode: 302 } }, 'success'],
    [{ value: { status: 404 } }, 'ignore'],
    [{ value: { status: 429 } }, 'ignore'],
    [{ value: { status: 500 } }, 'failure'],
    [{ value: new Response('', { status: 503 }) }, 'failure'],
    [{ error: { statusCode: 404 } }, 'ignore'],
    [{ error: { status: 502 } }, 'failure'],
    [{ error: new TypeError('fetch failed') }, 'failure'],
    [{ error: new DOMException('', 'TimeoutError') }, 'failure'],
    [{ error: new DOMException('', 'AbortError') }, 'ignore'],
    [{ value: undefined }, 'success'],
    [{ value: { status: 'active' } }, 'success'],
    [
      { value: new Response('', { status: 503, headers: { 'retry-after': '7' } }) },
      { failure: true, retryAfterMs: 7_000 },
    ],
    [{ value: { statusCode: 429, headers: { 'Retry-After': ['3'] } } }, { failure: true, retryAfterMs: 3_000 }],
    [{ error: { status: 429, retryAfterMs: 1_200 } }, { failure: true, retryAfterMs: 1_200 }],
    [{ value: { status: 503, headers: { 'retry-after': 'soon' } } }, 'failure'],
    [{ value: { status: 503, headers: { 'retry-after': '9999.5' } } }, 'failure'],
    [{ value: { status: 503, headers: { 'retry-after': 'in the year 9999' } } }, 'failure'],
    [{ error: { name: 'HTTPError', response: { status: 404 } } }, 'ignore'],
    [{ error: { name: 'HTTPError', response: { statusCode: 502 } } }, 'failure'],
    [{ error: { status: 429, response: { headers: { 'retry-after': '4' } } } }, { failure: true, retryAfterMs: 4_000 }],
    [{ error: { retryAfterMs: 900, response: { status: 503 } } }, { failure: true, retryAfterMs: 900 }],
    [{ error: null }, 'failure'],
    [{ value: { response: { status: 500 } } }, 'success'],
    [{ value: { status: 503, headers: { 'retry-after': '0' } } }, 'failure'],
    [
      {
        value: {
          status: 503,
          headers: { date: 'Thu, 01 Jan 2026 00:00:00 GMT', 'retry-after': 'Thu, 01 Jan 2026 00:01:00 GMT' },
        },
      },
      { failure: true, retryAfterMs: 60_000 },
    ],
  ])('judges %j as %j', (outcome, verdict) => {
    expect(classifyHttp(outcome)).toEqual(verdict);
  });
});
