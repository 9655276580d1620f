import type { IncomingMessage, ServerResponse } from 'node:http';
import { ConcurrencyLimiter } from '@x/backpressure';
import { type AdmissionOptions, type RequestHandler, requestSignal } from '@x/backpressure/http';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';
import { held, openRaw, serve, until } from './admission-server.ts';

/** A gate with one permit, before work that the test ends, and a client that can leave. */
async function setUp(handler: (work: Promise<void>) => RequestHandler, options: AdmissionOptions = {}) {
  const outcomes: string[] = [];
  const reported: unknown[] = [];
  const clock = new ManualClock({ now: 0 });
  const permit = {
    release: () => void outcomes.push('release'),
    ignore: () => void outcomes.push('ignore'),
    failure: () => void outcomes.push('failure'),
  };
  const limiter = { tryAcquire: () => permit, acquire: () => Promise.resolve(permit) };
  let end = (): void => {};
  let fail = (_: unknown): void => {};
  const work = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  const closed: ServerResponse[] = [];
  const inWork: IncomingMessage[] = [];
  const inner = handler(work);
  const { port } = await serve(
    (request, response) => {
      inWork.push(request);
      response.once('close', () => closed.push(response));
      return inner(request, response);
    },
    { limiter, clock, onError: (error) => reported.push(error), ...options },
  );
  const { socket } = await openRaw(port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => inWork.length === 1);
  const leave = async (): Promise<void> => {
    socket.destroy();
    await until(() => closed.length === 1);
    await turn();
  };
  return { outcomes, reported, clock, leave, end, fail, socket, closed };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const unaware = (work: Promise<void>) => async (_: IncomingMessage, response: ServerResponse) => {
  await work;
  response.end('done');
};
const aware = (work: Promise<void>) => async (request: IncomingMessage, response: ServerResponse) => {
  const signal = requestSignal(request, response);
  await Promise.race([
    work,
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
  ]);
  response.end('done');
};

describe('a permit is held until the work is over', () => {
  test('when the client has gone, until the handler’s promise settles; its time then counts as it was', async () => {
    const { outcomes, leave, end } = await setUp(unaware);
    await leave();
    expect(outcomes).toEqual([]);
    end();
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual(['release']);
  });

  test('when the promise has settled, until the response is closed', async () => {
    let answer = (): void => {};
    const { outcomes, end, closed } = await setUp((work) => async (_, response) => {
      await work;
      answer = () => response.end('done');
    });
    end();
    await turn();
    expect(outcomes).toEqual([]);
    answer();
    await until(() => closed.length === 1 && outcomes.length > 0);
    expect(outcomes).toEqual(['release']);
  });

  test('when it was answered, until what the handler does besides is done', async () => {
    const { outcomes, end, closed } = await setUp((work) => async (_, response) => {
      response.end('done');
      await work;
    });
    await until(() => closed.length === 1);
    await turn();
    expect(outcomes).toEqual([]);
    end();
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual(['release']);
  });

  test('of a handler that returns nothing, until the response is closed, for nothing else is known', async () => {
    const { outcomes, leave, end } = await setUp((work) => (_, response) => void work.then(() => response.end('late')));
    await leave();
    expect(outcomes).toEqual(['ignore']);
    end();
    await turn();
    expect(outcomes).toEqual(['ignore']);
  });

  test('of a handler that ends when its client leaves, not longer', async () => {
    const { outcomes, reported, leave } = await setUp(aware);
    await leave();
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual(['ignore']);
    expect(reported).toEqual([]);
  });

  test('by as many listeners whether its request had to wait or not', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const counts: number[] = [];
    const { responses, handler } = held();
    const { url } = await serve(
      (request, response) => {
        counts.push(response.listenerCount('close'));
        return handler(request, response);
      },
      { limiter },
    );
    const calls = [fetch(url), fetch(url)];
    await until(() => limiter.stats().queued === 1);
    for (let n = 0; n < 2; n++) {
      await until(() => responses.length === n + 1);
      responses[n]?.end('done');
    }
    await Promise.all(calls);
    expect(counts[1]).toBe(counts[0]);
  });

  test('and no more than the limit is in work, whoever hangs up', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 2, maxQueue: 100 });
    const ends: (() => void)[] = [];
    let inWork = 0;
    let most = 0;
    const { port } = await serve(
      async (_, response) => {
        most = Math.max(most, ++inWork);
        await new Promise<void>((resolve) => ends.push(resolve));
        inWork--;
        response.end('done');
      },
      { limiter },
    );
    for (let n = 1; n <= 5; n++) {
      const { socket } = await openRaw(port);
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await until(() => limiter.stats().inFlight + limiter.stats().queued === Math.min(n, 3));
      socket.destroy();
      // The first two are in work; of the others each leaves the queue.
      if (n > 2) await until(() => limiter.stats().queued === 0);
    }
    await turn();
    expect([inWork, most, limiter.stats().inFlight]).toEqual([2, 2, 2]);
    for (const end of ends) end();
    await limiter.onIdle();
    expect(limiter.stats()).toMatchObject({ admitted: 2, completed: 2, inFlight: 0 });
  });
});

describe('what is told to an adaptive limit', () => {
  const deadlineMs = () => 1_000;

  /** Requests one after the other, each of which is answered, or left, after so long; what its permit was given back as. */
  async function play(afterMs: readonly number[], end: 'answered' | 'left', handler: RequestHandler = () => {}) {
    const clock = new ManualClock({ now: 0 });
    const outcomes: string[] = [];
    const permit = {
      release: () => void outcomes.push('release'),
      ignore: () => void outcomes.push('ignore'),
      failure: () => void outcomes.push('failure'),
    };
    const responses: ServerResponse[] = [];
    const { port } = await serve(
      (request, response) => {
        responses.push(response);
        return handler(request, response);
      },
      { limiter: { tryAcquire: () => permit, acquire: async () => permit }, deadlineMs, clock },
    );
    for (const [n, ms] of afterMs.entries()) {
      const { socket } = await openRaw(port);
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await until(() => responses.length === n + 1);
      await clock.advance(ms);
      if (end === 'answered') responses[n]?.end('done');
      else socket.destroy();
      await until(() => outcomes.length === n + 1);
    }
    return outcomes.join(' ').replaceAll(/(\w+)( \1)+/g, (run, outcome) => `${run.split(' ').length} ${outcome}`);
  }

  const late = (count: number) => new Array<number>(count).fill(900);
  const inTime = (count: number) => new Array<number>(count).fill(899);

  test('one late answer, or a few, are as others are; from one in four on they are failures', async () => {
    // 1 - 0.95 ** 6 is more than a quarter, 1 - 0.95 ** 5 is less.
    expect(await play(late(8), 'answered')).toBe('5 release 3 failure');
    expect(await play(late(8), 'left')).toBe('5 ignore 3 failure');
    expect(await play([...late(7), ...inTime(3), ...late(1)], 'answered')).toBe(
      '5 release 2 failure 3 release failure',
    );
    expect(await play([...late(5), ...inTime(20), ...late(3)], 'answered')).toBe('28 release');
  });

  test('clients that leave before their deadline have changed their minds, and say nothing', async () => {
    expect(await play(inTime(30), 'left')).toBe('30 ignore');
    // Nor do they hide those who waited in vain.
    expect(await play([...late(5), ...inTime(20), ...late(1)], 'left')).toBe('25 ignore failure');
  });

  test('work that is told when its client leaves may have been cut short by that', async () => {
    expect(await play(inTime(3), 'left', aware(new Promise(() => {})))).toBe('3 ignore');
    const content: RequestHandler = (request, response) =>
      new Promise<void>((resolve) => requestSignal(request, response).addEventListener('abort', () => resolve()));
    expect(await play(inTime(3), 'left', content)).toBe('3 ignore');
  });

  test('work that fails after its client had left tells nothing, and is reported', async () => {
    const { outcomes, reported, leave, fail } = await setUp(unaware);
    await leave();
    fail(new Error('rolled back badly'));
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual(['ignore']);
    expect(reported).toMatchObject([{ message: 'rolled back badly' }]);
  });

  test('a stream whose handler’s promise settled before its client left was cut short', async () => {
    const { outcomes, leave, end } = await setUp((work) => async (_, response) => {
      await work;
      response.write('part');
    });
    end();
    await turn();
    await leave();
    expect(outcomes).toEqual(['ignore']);
  });

  test('a permit that knows only `release` gets that', async () => {
    let released = 0;
    const permit = { release: () => void released++ };
    const { leave } = await setUp(() => () => {}, {
      limiter: { tryAcquire: () => permit, acquire: async () => permit },
    });
    await leave();
    expect(released).toBe(1);
  });
});

describe('work that does not end', () => {
  test('gives its permit back after abandonedTimeoutMs, which is reported, and not once more', async () => {
    const { outcomes, reported, leave, end, clock } = await setUp(unaware, { abandonedTimeoutMs: 5_000 });
    await clock.advance(60_000);
    expect(outcomes).toEqual([]);
    await leave();
    await clock.advance(4_999);
    expect(outcomes).toEqual([]);
    await clock.advance(1);
    expect(outcomes).toEqual(['ignore']);
    expect(reported).toMatchObject([{ code: 'ERR_TIMEOUT', timeoutMs: 5_000 }]);
    end();
    await turn();
    expect(outcomes).toEqual(['ignore']);
  });

  test('tells nothing of how long work takes, though its request was answered', async () => {
    const { outcomes, reported, closed, clock } = await setUp((work) => async (_, response) => {
      response.end('done');
      await work;
    });
    await until(() => closed.length === 1);
    await turn();
    await clock.advance(30_000);
    expect(outcomes).toEqual(['ignore']);
    expect(reported).toMatchObject([{ code: 'ERR_TIMEOUT' }]);
  });

  test('is told of by default after 30 s; one that ended leaves no timer', async () => {
    const never = await setUp(unaware);
    await never.leave();
    await never.clock.advance(29_999);
    expect(never.outcomes).toEqual([]);
    await never.clock.advance(1);
    expect(never.outcomes).toEqual(['ignore']);
    const ended = await setUp(unaware);
    await ended.leave();
    ended.end();
    await until(() => ended.outcomes.length > 0);
    expect(ended.clock.pendingTimers).toBe(0);
    expect(ended.reported).toEqual([]);
  });

  test('keeps no process alive', async () => {
    let unreferenced = 0;
    const clock = { now: () => 0, setTimeout: () => ({ unref: () => unreferenced++ }), clearTimeout: () => {} };
    const { leave } = await setUp(unaware, { clock });
    await leave();
    expect(unreferenced).toBe(1);
  });

  test('holds its permit for ever where there is to be no bound', async () => {
    const { outcomes, leave, clock } = await setUp(unaware, { abandonedTimeoutMs: Number.POSITIVE_INFINITY });
    await leave();
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(1e9);
    expect(outcomes).toEqual([]);
  });
});

describe('in the stats of a limiter', () => {
  /** One request in work under a real limiter. */
  async function working(inner: (work: Promise<void>) => RequestHandler, options: AdmissionOptions = {}) {
    const limiter = new ConcurrencyLimiter({ limit: 2 });
    const set = await setUp(inner, { limiter, ...options });
    const abandoned = () => {
      const { inFlight, abandoned: total, abandonedInFlight } = limiter.stats();
      return { inFlight, total, abandonedInFlight };
    };
    return { ...set, abandoned };
  }

  test('work that a client left is abandoned, and in flight as that until it ends', async () => {
    const { abandoned, leave, end } = await working(unaware);
    expect(abandoned()).toEqual({ inFlight: 1, total: 0, abandonedInFlight: 0 });
    await leave();
    expect(abandoned()).toEqual({ inFlight: 1, total: 1, abandonedInFlight: 1 });
    end();
    await turn();
    expect(abandoned()).toEqual({ inFlight: 0, total: 1, abandonedInFlight: 0 });
  });

  test('what never ends is not in flight as abandoned once its permit was taken back', async () => {
    const { abandoned, leave, clock } = await working(unaware);
    await leave();
    await clock.advance(30_000);
    expect(abandoned()).toEqual({ inFlight: 0, total: 1, abandonedInFlight: 0 });
  });

  test('what was answered, or is over when its client goes, is not abandoned', async () => {
    const answered = await working((work) => async (_, response) => {
      response.end('done');
      await work;
    });
    await until(() => answered.closed.length === 1);
    expect(answered.abandoned()).toEqual({ inFlight: 1, total: 0, abandonedInFlight: 0 });
    answered.end();
    await turn();
    expect(answered.abandoned()).toEqual({ inFlight: 0, total: 0, abandonedInFlight: 0 });

    const stream = await working(() => async (_, response) => void response.write('the first of many'));
    await turn();
    await stream.leave();
    expect(stream.abandoned()).toEqual({ inFlight: 0, total: 0, abandonedInFlight: 0 });
  });

  test('a permit is abandoned once, and not after it was given back', () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const permit = limiter.tryAcquire();
    permit?.abandon();
    permit?.abandon();
    expect(limiter.stats()).toMatchObject({ abandoned: 1, abandonedInFlight: 1 });
    permit?.failure();
    permit?.abandon();
    permit?.release();
    expect(limiter.stats()).toMatchObject({ abandoned: 1, abandonedInFlight: 0, inFlight: 0 });
    const next = limiter.tryAcquire();
    next?.release();
    next?.abandon();
    expect(limiter.stats()).toMatchObject({ abandoned: 1, abandonedInFlight: 0, inFlight: 0 });
  });
});

test('a permit that comes when the client has gone begins nothing, and is given back', async () => {
  const outcomes: string[] = [];
  const permit = { release: () => void outcomes.push('release'), ignore: () => void outcomes.push('ignore') };
  let grant: ((granted: typeof permit) => void) | undefined;
  // One that does not look at its signal.
  const limiter = {
    tryAcquire: () => undefined,
    acquire: () =>
      new Promise<typeof permit>((resolve) => {
        grant = resolve;
      }),
  };
  let begun = 0;
  const { port, connections } = await serve(() => void begun++, { limiter });
  const { socket } = await openRaw(port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => grant !== undefined);
  socket.destroy();
  await until(() => connections[0]?.destroyed === true);
  await turn();
  grant?.(permit);
  await turn();
  expect(begun).toBe(0);
  expect(outcomes).toEqual(['ignore']);
});
