import { AsyncLocalStorage } from 'node:async_hooks';
import { ConcurrencyLimiter, type ConcurrencyLimiterOptions } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

function setUp(options: Partial<ConcurrencyLimiterOptions> = {}) {
  const clock = new ManualClock();
  return { clock, limiter: new ConcurrencyLimiter({ limit: 1, clock, random: () => 0, ...options }) };
}

/** Work that ends when the test says so. */
function work<T = string>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { fn: () => promise, resolve, reject };
}

describe('a limiter', () => {
  test('runs at most `limit` at a time and the rest in order', async () => {
    const { limiter } = setUp({ limit: 2 });
    let running = 0;
    let most = 0;
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        limiter.run(async () => {
          order.push(n);
          most = Math.max(most, ++running);
          await Promise.resolve();
          running--;
        }),
      ),
    );
    expect(most).toBe(2);
    expect(order).toEqual(Array.from({ length: 20 }, (_, n) => n));
    expect(limiter.stats()).toMatchObject({ admitted: 20, completed: 20, inFlight: 0, queued: 0 });
  });

  test('passes on what the work returns, what it rejects with and what it throws at once', async () => {
    const { limiter } = setUp();
    expect(await limiter.run(() => 1)).toBe(1);
    expect(await limiter.run(async () => 'a')).toBe('a');
    await expect(limiter.run(() => Promise.reject(new Error('later')))).rejects.toThrow('later');
    await expect(
      limiter.run(() => {
        throw new Error('at once');
      }),
    ).rejects.toThrow('at once');
    await expect(
      limiter.run(
        () => {
          throw new Error('at once, timed');
        },
        { timeoutMs: 5 },
      ),
    ).rejects.toThrow('at once, timed');
    expect(limiter.stats().inFlight).toBe(0);
  });

  test('refuses at once when the queue is full, and says when to come back', async () => {
    const { limiter, clock } = setUp({ maxQueue: 1, name: 'db' });
    for (let n = 0; n < 10; n++) {
      const quick = work();
      const run = limiter.run(quick.fn);
      await clock.advance(200);
      quick.resolve('');
      await run;
    }
    await clock.advance(3_600_000);
    const first = work();
    const running = limiter.run(first.fn);
    const waiting = limiter.run(() => 'second');
    // Work takes 200 ms: one waits already.
    await expect(limiter.run(() => 'third')).rejects.toMatchObject({
      code: 'ERR_OVERLOADED',
      reason: 'queue_full',
      retryAfterMs: 400,
      message: 'db: the queue is full; retry in 0.4 s',
    });
    // A standstill makes it longer, idleness before does not.
    await clock.advance(1_000);
    await expect(limiter.run(() => 'third')).rejects.toMatchObject({ retryAfterMs: 1_400 });
    first.resolve('first');
    expect(await Promise.all([running, waiting])).toEqual(['first', 'second']);
    expect(limiter.stats().rejected).toEqual({ queue_full: 2, queue_timeout: 0, deadline: 0, shed: 0, draining: 0 });
  });

  test('a refusal is a real error without a stack, and errors elsewhere keep theirs', async () => {
    const { limiter } = setUp({ maxQueue: 0 });
    const permit = limiter.tryAcquire();
    const refusal = await limiter.run(() => {}).catch((error: Error) => error);
    expect(refusal).toBeInstanceOf(Error);
    expect((refusal as Error).stack).not.toContain('\n    at ');
    expect(new Error('x').stack).toContain('\n    at ');
    permit?.release();
  });

  test('says how long those ahead take with all permits together, and for how long nothing has moved', async () => {
    const { limiter, clock } = setUp({ limit: 4, maxQueue: 3 });
    for (let n = 0; n < 10; n++) await limiter.run(() => clock.advance(400));
    for (let n = 0; n < 4; n++) limiter.tryAcquire();
    const waiting = [1, 2, 3].map(() => limiter.run(() => {}).catch(() => {}));
    await expect(limiter.run(() => {})).rejects.toMatchObject({ retryAfterMs: 400 });
    await clock.advance(250);
    await expect(limiter.run(() => {})).rejects.toMatchObject({ retryAfterMs: 650 });
    void limiter.close();
    await Promise.all(waiting);
  });

  test('takes nothing from the time spent waiting when the clock is set back', async () => {
    const { limiter, clock } = setUp();
    const held = limiter.tryAcquire();
    const waiting = limiter.run(() => {});
    clock.jump(-1_000);
    held?.release();
    await waiting;
    expect(limiter.stats()).toMatchObject({ queueWaitMs: 0, runMs: 0 });
  });

  test('adds up to half to the time it says, so that those refused together do not come back together', async () => {
    const { limiter } = setUp({ maxQueue: 0, random: () => 1 });
    limiter.tryAcquire();
    await expect(limiter.run(() => {})).rejects.toMatchObject({ retryAfterMs: 1_500 });
  });

  test('one who waited too long is told, and its place is free', async () => {
    const { limiter, clock } = setUp({ maxQueue: 1, queueTimeoutMs: 100 });
    const first = work();
    const running = limiter.run(first.fn);
    const late = expect(limiter.run(() => 'late')).rejects.toMatchObject({
      code: 'ERR_OVERLOADED',
      reason: 'queue_timeout',
    });
    await clock.advance(100);
    await late;
    expect(limiter.stats().queued).toBe(0);
    const next = limiter.run(() => 'next');
    await clock.advance(99);
    first.resolve('');
    await running;
    expect(await next).toBe('next');
    expect(clock.pendingTimers).toBe(0);
  });

  test('one timer serves all who wait, each for its own time', async () => {
    const { limiter, clock } = setUp({ queueTimeoutMs: 100 });
    limiter.tryAcquire();
    const told: string[] = [];
    void limiter.run(() => {}).catch(() => told.push('a'));
    await clock.advance(60);
    void limiter.run(() => {}).catch(() => told.push('b'));
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(40);
    expect(told).toEqual(['a']);
    await clock.advance(59);
    expect(told).toEqual(['a']);
    await clock.advance(1);
    expect(told).toEqual(['a', 'b']);
    expect(clock.pendingTimers).toBe(0);
  });

  test('an abort while queued settles at once, frees the place and wakes the next in turn', async () => {
    const { limiter } = setUp({ maxQueue: 2 });
    const first = work();
    const running = limiter.run(first.fn);
    const controller = new AbortController();
    let ran = false;
    const aborted = limiter.run(
      () => {
        ran = true;
      },
      { signal: controller.signal },
    );
    const next = limiter.run(() => 'next');
    const reason = new Error('gone');
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    expect(limiter.stats().queued).toBe(1);
    first.resolve('');
    await running;
    expect(await next).toBe('next');
    expect(ran).toBe(false);
    expect(limiter.stats()).toMatchObject({ inFlight: 0, admitted: 2, abandoned: 0 });
  });

  test('an abort between the grant and the start starts nothing and gives the permit back', async () => {
    const { limiter } = setUp();
    const permit = limiter.tryAcquire();
    const controller = new AbortController();
    let ran = false;
    const run = limiter.run(
      () => {
        ran = true;
      },
      { signal: controller.signal },
    );
    const acquired = limiter.acquire({ signal: controller.signal });
    permit?.release();
    controller.abort(new Error('gone'));
    await expect(run).rejects.toThrow('gone');
    await expect(acquired).rejects.toThrow('gone');
    expect(ran).toBe(false);
    expect(limiter.stats().inFlight).toBe(0);
  });

  test('nothing runs for one who is already aborted', async () => {
    const { limiter } = setUp();
    let ran = false;
    const run = limiter.run(
      () => {
        ran = true;
      },
      { signal: AbortSignal.abort(new Error('gone')) },
    );
    await expect(run).rejects.toThrow('gone');
    await expect(limiter.acquire({ signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
    expect(ran).toBe(false);
    expect(limiter.stats().admitted).toBe(0);
  });

  test('an abort while running is answered at once, and the permit is kept until the work has ended', async () => {
    const { limiter } = setUp();
    const stubborn = work();
    const controller = new AbortController();
    const run = limiter.run(stubborn.fn, { signal: controller.signal });
    controller.abort(new Error('gone'));
    await expect(run).rejects.toThrow('gone');
    expect(limiter.stats()).toMatchObject({ inFlight: 1, abandoned: 1, abandonedInFlight: 1, completed: 0 });
    expect(limiter.tryAcquire()).toBeUndefined();
    stubborn.resolve('');
    await limiter.onIdle();
    expect(limiter.stats()).toMatchObject({ inFlight: 0, abandoned: 1, abandonedInFlight: 0, completed: 1 });
  });

  test('a time-out aborts the signal, rejects at once, and keeps the permit until the work has ended', async () => {
    const { limiter, clock } = setUp();
    const stubborn = work();
    let seen: AbortSignal | undefined;
    const run = limiter.run(
      ({ signal }) => {
        seen = signal;
        return stubborn.fn();
      },
      { timeoutMs: 50 },
    );
    const told = expect(run).rejects.toMatchObject({ code: 'ERR_TIMEOUT', timeoutMs: 50 });
    const next = limiter.run(() => 'next');
    await clock.advance(50);
    await told;
    expect(seen?.reason).toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(limiter.stats()).toMatchObject({ inFlight: 1, queued: 1, abandoned: 1, abandonedInFlight: 1 });
    stubborn.reject(new Error('too late to be heard'));
    expect(await next).toBe('next');
    expect(limiter.stats()).toMatchObject({ abandoned: 1, abandonedInFlight: 0, completed: 2 });
    expect(clock.pendingTimers).toBe(0);
  });

  test('the time to run starts with the work, not in the queue', async () => {
    const { limiter, clock } = setUp();
    const first = work();
    const running = limiter.run(first.fn);
    const second = work();
    const next = limiter.run(second.fn, { timeoutMs: 50 });
    await clock.advance(500);
    first.resolve('');
    await running;
    await clock.advance(49);
    second.resolve('in time');
    expect(await next).toBe('in time');
  });

  test('the work sees the caller leave through its signal, whichever of both comes first', async () => {
    const { limiter, clock } = setUp({ limit: 2 });
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const stubborn = ({ signal }: { signal: AbortSignal }): Promise<void> => {
      signals.push(signal);
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
    };
    const a = limiter.run(stubborn, { signal: controller.signal, timeoutMs: 50 });
    const b = limiter.run(stubborn, { signal: new AbortController().signal, timeoutMs: 50 });
    controller.abort(new Error('gone'));
    await expect(a).rejects.toThrow('gone');
    const told = expect(b).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await clock.advance(50);
    await told;
    expect(signals.map((signal) => signal.aborted)).toEqual([true, true]);
    expect(limiter.stats()).toMatchObject({ inFlight: 0, abandoned: 2, abandonedInFlight: 0 });
  });

  test('work without a caller who can leave still has a signal, its own, that never aborts', async () => {
    const { limiter } = setUp({ limit: 2 });
    const a = await limiter.run(({ signal }) => signal);
    const b = await limiter.run(({ signal }) => signal);
    expect(a).toBeInstanceOf(AbortSignal);
    expect(a).not.toBe(b);
  });

  test('neither timer nor listener is left behind', async () => {
    const { limiter, clock } = setUp();
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await Promise.all([
      limiter.run(() => {}, { signal, timeoutMs: 100, deadlineMs: 1_000 }),
      limiter.run(() => {}, { signal, timeoutMs: 100, deadlineMs: 1_000 }),
      limiter.acquire({ signal, deadlineMs: 1_000 }).then((permit) => permit.release()),
    ]);
    expect(listeners).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  });

  test('serves the newest first when asked to', async () => {
    const { limiter } = setUp({ order: 'lifo' });
    const permit = limiter.tryAcquire();
    const order: string[] = [];
    const all = ['a', 'b', 'c'].map((name) => limiter.run(() => order.push(name)));
    permit?.release();
    await Promise.all(all);
    expect(order).toEqual(['c', 'b', 'a']);
  });

  test('queued work runs in the context of its own caller', async () => {
    const { limiter } = setUp();
    const caller = new AsyncLocalStorage<string>();
    const seen = await Promise.all(
      ['a', 'b', 'c', 'd'].map((name, n) =>
        caller.run(name, () =>
          limiter.run(async () => caller.getStore(), n % 2 === 0 ? undefined : { timeoutMs: 1_000 }),
        ),
      ),
    );
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
  });

  test('a larger limit lets waiters in at once, a smaller one lets what runs end in peace', async () => {
    const { limiter } = setUp();
    const works = Array.from({ length: 5 }, () => work());
    const runs = works.map((each) => limiter.run(each.fn));
    limiter.setLimit(3);
    expect(limiter.stats()).toMatchObject({ limit: 3, inFlight: 3, queued: 2 });
    limiter.setLimit(1);
    works[0]?.resolve('');
    works[1]?.resolve('');
    await Promise.all(runs.slice(0, 2));
    expect(limiter.stats()).toMatchObject({ inFlight: 1, queued: 2 });
    for (const each of works) each.resolve('');
    await Promise.all(runs);
    expect(limiter.stats().inFlight).toBe(0);
  });

  test('adds up the time spent waiting and running', async () => {
    const { limiter, clock } = setUp();
    const first = work();
    const second = work();
    const runs = [limiter.run(first.fn), limiter.run(second.fn)];
    await clock.advance(30);
    first.resolve('');
    await clock.advance(20);
    second.resolve('');
    await Promise.all(runs);
    expect(limiter.stats()).toMatchObject({ queueWaitMs: 30, runMs: 50 });
  });
});

describe('a permit', () => {
  test('is given back once, however often and however that is said', () => {
    const { limiter } = setUp();
    const permit = limiter.tryAcquire();
    expect(limiter.tryAcquire()).toBeUndefined();
    permit?.release();
    permit?.release();
    permit?.success();
    permit?.failure(new Error('x'));
    permit?.ignore();
    permit?.[Symbol.dispose]();
    expect(limiter.stats()).toMatchObject({ inFlight: 0, completed: 1 });
    limiter.tryAcquire();
    expect(limiter.tryAcquire()).toBeUndefined();
  });

  test('goes to one who waits, not to one who comes by', async () => {
    const { limiter } = setUp();
    const permit = limiter.tryAcquire();
    const acquired = limiter.acquire();
    permit?.release();
    expect(limiter.tryAcquire()).toBeUndefined();
    (await acquired).release();
    expect(limiter.tryAcquire()).toBeDefined();
  });

  test('is given back at the end of its block', async () => {
    const { limiter } = setUp();
    {
      using _permit = await limiter.acquire();
      expect(limiter.stats().inFlight).toBe(1);
    }
    expect(limiter.stats().inFlight).toBe(0);
  });
});

describe('a deadline', () => {
  test('that has passed starts nothing', async () => {
    const { limiter } = setUp();
    await expect(limiter.run(() => 'x', { deadlineMs: 0 })).rejects.toMatchObject({ reason: 'deadline' });
    expect(limiter.stats().admitted).toBe(0);
  });

  test('drops work while it waits, as soon as it could not end in time any more', async () => {
    const { limiter, clock } = setUp();
    const quick = work();
    const warm = limiter.run(quick.fn);
    await clock.advance(40);
    quick.resolve('');
    await warm;
    const first = work();
    const running = limiter.run(first.fn);
    let told = 0;
    const late = limiter
      .run(() => {}, { deadlineMs: 100 })
      .catch((error) => {
        told = clock.now();
        return error;
      });
    const start = clock.now();
    await clock.advance(100);
    // Work takes 40 ms of late: after 60 ms it is too late.
    expect(told - start).toBe(60);
    expect(await late).toMatchObject({ code: 'ERR_OVERLOADED', reason: 'deadline' });
    first.resolve('');
    await running;
    expect(clock.pendingTimers).toBe(0);
  });

  test('shorter than the work usually takes is refused at once where one would wait, and tried where a permit is free', async () => {
    const { limiter, clock } = setUp();
    const quick = work();
    const warm = limiter.run(quick.fn);
    await clock.advance(40);
    quick.resolve('');
    await warm;
    expect(await limiter.run(() => 'tried', { deadlineMs: 10 })).toBe('tried');
    limiter.tryAcquire();
    await expect(limiter.run(() => {}, { deadlineMs: 10 })).rejects.toMatchObject({ reason: 'deadline' });
  });
});

describe('the end', () => {
  test('onIdle waits for what runs and for what waits', async () => {
    const { limiter } = setUp();
    await limiter.onIdle();
    const first = work();
    const runs = [limiter.run(first.fn), limiter.run(() => {})];
    let idle = false;
    const told = limiter.onIdle().then(() => {
      idle = true;
    });
    await Promise.resolve();
    expect(idle).toBe(false);
    first.resolve('');
    await Promise.all([...runs, told]);
    expect(limiter.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });

  test('close refuses those who wait and those who come, and waits for what runs', async () => {
    const { limiter, clock } = setUp();
    const first = work();
    const running = limiter.run(first.fn);
    const waiting = expect(limiter.run(() => {})).rejects.toMatchObject({
      code: 'ERR_OVERLOADED',
      reason: 'draining',
    });
    let closed = false;
    const closing = limiter.close().then(() => {
      closed = true;
    });
    await waiting;
    await expect(limiter.run(() => {})).rejects.toMatchObject({ reason: 'draining' });
    expect(limiter.tryAcquire()).toBeUndefined();
    await clock.advance(10);
    expect(closed).toBe(false);
    first.resolve('done');
    expect(await running).toBe('done');
    await closing;
    await limiter.close();
    await expect(limiter.run(() => {})).rejects.toMatchObject({ reason: 'draining' });
    expect(limiter.stats().rejected.draining).toBe(3);
  });

  test('close waits no longer than it is told to', async () => {
    const { limiter, clock } = setUp();
    limiter.tryAcquire();
    let closed = false;
    const closing = limiter.close({ timeoutMs: 100 }).then(() => {
      closed = true;
    });
    await clock.advance(99);
    expect(closed).toBe(false);
    await clock.advance(1);
    await closing;
    expect(limiter.stats().inFlight).toBe(1);
  });

  test('close that need not wait to its end leaves no timer behind', async () => {
    const { limiter, clock } = setUp();
    const permit = limiter.tryAcquire();
    const closing = limiter.close({ timeoutMs: 100 });
    permit?.release();
    await closing;
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('bad options', () => {
  test.each([
    [{ limit: 0 }, '@x/backpressure: limit must be an integer >= 1 or Infinity, got 0'],
    [{ limit: 1.5 }, '@x/backpressure: limit must be an integer >= 1 or Infinity, got 1.5'],
    [{ maxQueue: -1 }, '@x/backpressure: maxQueue must be an integer >= 0 or Infinity, got -1'],
    [{ queueTimeoutMs: Number.NaN }, '@x/backpressure: queueTimeoutMs must be a number >= 0, got NaN'],
  ])('%j is refused', (options, message) => {
    expect(() => setUp(options)).toThrow(new RangeError(message));
  });

  test.each([
    [{ limit: '3' as never }, "@x/backpressure: limit must be an integer >= 1 or Infinity, got '3'"],
    [{ order: 'random' as never }, "@x/backpressure: order must be one of 'fifo', 'lifo', 'adaptive', got 'random'"],
    [{ name: 5 as never }, '@x/backpressure: name must be a string, got 5'],
    [{ random: 0.5 as never }, '@x/backpressure: random must be a function, got 0.5'],
    [
      { limit: Object.create(null) as never },
      '@x/backpressure: limit must be an integer >= 1 or an adaptive limit, got an object',
    ],
  ])('%j is of the wrong kind', (options, message) => {
    expect(() => setUp(options)).toThrow(new TypeError(message));
  });

  test('a missing limit and a classify that nothing would read are type errors', () => {
    expect(() => new ConcurrencyLimiter({} as never)).toThrow(TypeError);
    expect(() => setUp({ classify: () => 'ignore' })).toThrow(TypeError);
  });

  test('an option that is undefined counts as absent', async () => {
    const { limiter } = setUp({ maxQueue: undefined, order: undefined, queueTimeoutMs: undefined, name: undefined });
    const options = { signal: undefined, priority: undefined, key: undefined, deadlineMs: undefined };
    expect(await Promise.all([1, 2].map((n) => limiter.run(() => n, { ...options, timeoutMs: undefined })))).toEqual([
      1, 2,
    ]);
  });

  test('a bad time for one call refuses that call and leaks nothing', async () => {
    const { limiter } = setUp();
    await expect(limiter.run(() => {}, { timeoutMs: -1 })).rejects.toThrow(RangeError);
    limiter.tryAcquire();
    await expect(limiter.run(() => {}, { deadlineMs: Number.NaN })).rejects.toThrow(RangeError);
    await expect(limiter.run(() => {}, { priority: 'high' as never })).rejects.toThrow(TypeError);
    expect(limiter.stats()).toMatchObject({ inFlight: 1, queued: 0 });
  });
});

describe('health', () => {
  test('is lost when 0.8 of the queue is taken, or on close', async () => {
    const { limiter } = setUp({ maxQueue: 5 });
    const permit = limiter.tryAcquire();
    const waiting = Array.from({ length: 3 }, () => limiter.acquire());
    expect(limiter.stats()).toMatchObject({ healthy: true, queued: 3, maxQueue: 5 });
    waiting.push(limiter.acquire());
    expect(limiter.stats().healthy).toBe(false);
    permit?.release();
    for (const each of waiting) (await each).release();
    expect(limiter.stats().healthy).toBe(true);
    await limiter.close();
    expect(limiter.stats().healthy).toBe(false);
  });

  test('without a queue is a free permit', () => {
    const { limiter } = setUp({ maxQueue: 0 });
    expect(limiter.stats().healthy).toBe(true);
    limiter.tryAcquire();
    expect(limiter.stats().healthy).toBe(false);
  });
});
