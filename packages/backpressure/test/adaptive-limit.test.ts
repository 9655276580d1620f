import {
  type AdaptiveLimit,
  AimdLimit,
  ConcurrencyLimiter,
  GradientLimit,
  KneeLimit,
  type Outcome,
  VegasLimit,
} from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

/** Lets windows pass in which all of the limit is used, at a service that does `workers` at a time in `baseMs`. */
function saturate(limit: AdaptiveLimit, windows: number, workers = 10): void {
  const baseMs = 10;
  let now = 0;
  for (let window = 0; window < windows; window++) {
    const runMs = baseMs * Math.max(1, limit.limit / workers);
    for (let call = 0; call < 20; call++) {
      now += 6;
      limit.record(now, runMs, limit.limit, false);
    }
  }
}

describe.each([
  ['KneeLimit', () => new KneeLimit(), 400],
  ['VegasLimit', () => new VegasLimit(), 400],
  ['GradientLimit', () => new GradientLimit(), 400],
  ['AimdLimit', () => new AimdLimit({ slowMs: 25 }), 400],
])('%s', (_name, make, settleWindows) => {
  test('settles where the service is busy and its queue is short', () => {
    const limit = make();
    saturate(limit, settleWindows);
    expect(limit.limit).toBeGreaterThanOrEqual(9);
    expect(limit.limit).toBeLessThan(60);
  });

  test('does not grow while it is not used', () => {
    const limit = make();
    for (let call = 0; call < 5_000; call++) limit.record(call * 10, 10, 2, false);
    expect(limit.limit).toBeLessThanOrEqual(20);
  });

  test('shrinks when calls fail for overload, down to its minimum', () => {
    const limit = make();
    const before = limit.limit;
    for (let call = 0; call < 100; call++) limit.record(call * 10, 10, limit.limit, true);
    expect(limit.limit).toBeLessThan(before);
    for (let call = 100; call < 20_000; call++) limit.record(call * 10, 10, limit.limit, true);
    expect(limit.limit).toBeGreaterThanOrEqual(1);
    expect(limit.limit).toBeLessThanOrEqual(3);
  });

  test('does not change on the word of a few calls', () => {
    const limit = make();
    for (let call = 0; call < 9; call++) limit.record(call * 1_000, 1_000, 20, true);
    expect(limit.limit).toBe(20);
  });
});

test.each([
  [2, 6],
  [4, 9],
  [20, 34],
])('GradientLimit has less of a queue in a smaller service: with %s workers the limit is %s', (workers, at) => {
  const limit = new GradientLimit();
  saturate(limit, 600, workers);
  expect(limit.limit).toBe(at);
});

describe('KneeLimit', () => {
  test('how soon a call failed says nothing: the limit goes the same way however long failures take', () => {
    const way = (failedAfterMs: number): number[] => {
      const limit = new KneeLimit();
      const limits: number[] = [];
      for (let call = 0; call < 4_000; call++) {
        const failed = call % 100 < 20;
        limit.record(call * 2, failed ? failedAfterMs : 10, call % 2 === 0 ? limit.limit : 1, failed);
        limits.push(limit.limit);
      }
      return limits;
    };
    expect(way(0.1)).toEqual(way(5_000));
    expect(new Set(way(0.1)).size).toBeGreaterThan(3);
  });

  /** Ten workers behind the limit, all of which is used, for so long. */
  function busy(limit: KneeLimit, from: number, forMs: number, runMs: number, workers = 10): number {
    let now = from;
    while (now < from + forMs) {
      const slow = Math.max(1, limit.limit / workers);
      limit.record(now, runMs * slow, limit.limit, false);
      now += runMs / Math.min(workers, limit.limit);
    }
    return now;
  }

  test('stays where it is when the service becomes four times slower, which is no queue', () => {
    const limit = new KneeLimit();
    const then = busy(limit, 0, 20_000, 10);
    const seen = new Set<number>();
    for (let now = then; now < then + 30_000; ) {
      now = busy(limit, now, 100, 40);
      seen.add(limit.limit);
    }
    expect(Math.max(...seen)).toBeLessThanOrEqual(15);
    // The lower ones are its probes.
    expect([...seen].filter((each) => each < 11).every((each) => each >= 6)).toBe(true);
  });

  /** In 20 seconds at ten workers. At any one moment it may be lowered for a probe. */
  function highestOf(limit: KneeLimit, from: number): number {
    let highest = 0;
    for (let now = from; now < from + 20_000; highest = Math.max(highest, limit.limit)) now = busy(limit, now, 100, 10);
    return highest;
  }

  test('comes back from the bottom, where a lower limit to compare with is hard to have', () => {
    const limit = new KneeLimit();
    for (let call = 0; call < 20_000; call++) limit.record(call * 10, 10, limit.limit, true);
    expect(limit.limit).toBe(2);
    expect(highestOf(limit, 200_000)).toBeGreaterThanOrEqual(10);
  });

  test('begins at 1 where it is told to, does not grow on failures, and grows once calls succeed', () => {
    const limit = new KneeLimit({ initialLimit: 1 });
    for (let call = 0; call < 1_000; call++) limit.record(call * 10, 10, 1, true);
    expect(limit.limit).toBe(1);
    expect(highestOf(limit, 10_000)).toBeGreaterThanOrEqual(10);
    expect(highestOf(new KneeLimit({ initialLimit: 1, maxLimit: 1 }), 0)).toBe(1);
  });

  test('follows a service that gets fewer workers, and more again', () => {
    const limit = new KneeLimit();
    let now = busy(limit, 0, 20_000, 10);
    now = busy(limit, now, 40_000, 10, 3);
    expect(limit.limit).toBeLessThanOrEqual(6);
    busy(limit, now, 60_000, 10, 30);
    expect(limit.limit).toBeGreaterThanOrEqual(18);
  });

  /** What the limit was, one after the other, behind it one worker. */
  function way(limit: KneeLimit, forMs: number): number[] {
    const seen = [limit.limit];
    for (let now = 0; now < forMs; ) {
      now = busy(limit, now, 10, 10, 1);
      if (limit.limit !== seen.at(-1)) seen.push(limit.limit);
    }
    return seen;
  }

  test('takes the knee to be as low as a probe can show: the share that is really in flight, and below five 0.65', () => {
    // Of 6 a probe lets 3 in, so the first answer is 3, which is a limit of 4; of 4 it lets 2 in, but counts as 2.6, a limit of 4 again.
    expect(way(new KneeLimit({ initialLimit: 6 }), 10_000).slice(0, 8)).toEqual([6, 3, 6, 4, 2, 4, 2, 4]);
  });

  test('does not ask more rarely where the answer is only that the knee is no higher', () => {
    // A rest would double from 0.3 s to 8 s, and leave 20 probes.
    const probes = way(new KneeLimit({ initialLimit: 6 }), 100_000).filter((limit) => limit === 2);
    expect(probes.length).toBeGreaterThan(50);
  });

  test('probes take a small part of the time, also where calls are few and long', () => {
    const limit = new KneeLimit();
    let probing = 0;
    let all = 0;
    let highest = 0;
    for (let now = 0; now < 2_000_000; all++) {
      now = busy(limit, now, 1_000, 4_000);
      highest = Math.max(highest, limit.limit);
      if (limit.limit < highest * 0.7 && all > 200) probing++;
    }
    expect(probing / all).toBeLessThan(0.25);
  });
});

test('bounds are kept and bad ones refused', () => {
  const small = new VegasLimit({ initialLimit: 3, minLimit: 2, maxLimit: 5 });
  for (let call = 0; call < 1_000; call++) small.record(call * 10, 10, small.limit, false);
  expect(small.limit).toBe(5);
  const knee = new KneeLimit({ initialLimit: 3, minLimit: 3, maxLimit: 5 });
  for (let call = 0; call < 2_000; call++) knee.record(call * 10, 10, knee.limit, false);
  expect(knee.limit).toBeGreaterThanOrEqual(3);
  expect(knee.limit).toBeLessThanOrEqual(5);
  for (let call = 2_000; call < 4_000; call++) knee.record(call * 10, 10, knee.limit, true);
  expect(knee.limit).toBe(3);
  expect(() => new KneeLimit({ minLimit: 0 })).toThrow('minLimit must be an integer >= 1, got 0');
  expect(() => new VegasLimit({ initialLimit: 0 })).toThrow('initialLimit must be an integer >= 1, got 0');
  expect(() => new GradientLimit({ initialLimit: 20, maxLimit: 10 })).toThrow(
    'initialLimit must be at most maxLimit (10), got 20',
  );
  expect(() => new GradientLimit({ tolerance: 0.5 })).toThrow('tolerance must be a number >= 1, got 0.5');
  expect(() => new AimdLimit({ backoff: 1 })).toThrow('backoff must be below 1, got 1');
  expect(() => new AimdLimit({ windowMs: 0 })).toThrow('windowMs must be a finite number > 0, got 0');
  expect(() => new AimdLimit({ slowMs: -1 })).toThrow('slowMs must be a finite number > 0, got -1');
});

test('AimdLimit grows while half of it is in use, and not with less', () => {
  for (const [inFlight, grown] of [
    [9, 20],
    [10, 21],
  ] as const) {
    const limit = new AimdLimit({ windowMs: 100 });
    for (let now = 0; now <= 110; now += 1) limit.record(now, 10, inFlight, false);
    expect(limit.limit).toBe(grown);
  }
});

describe('a limiter with an adaptive limit', () => {
  function setUp(classify?: (ending: { value: unknown } | { error: unknown }) => Outcome) {
    const clock = new ManualClock();
    const records: [number, number, boolean][] = [];
    const limit = {
      limit: 2,
      record: (_now: number, runMs: number, inFlight: number, failed: boolean) => {
        records.push([runMs, inFlight, failed]);
      },
    };
    return { clock, limit, records, limiter: new ConcurrencyLimiter({ limit, clock, maxQueue: 1, classify }) };
  }

  test('feeds it run times, without the time in the queue, and what was in flight', async () => {
    const { limiter, records, clock } = setUp();
    const permits = [limiter.tryAcquire(), limiter.tryAcquire()];
    const queued = limiter.acquire();
    await clock.advance(30);
    permits[0]?.release();
    await clock.advance(5);
    (await queued).release();
    expect(records).toEqual([
      [30, 1, false],
      [5, 2, false],
    ]);
  });

  test('tells it that nothing moves once calls wait for four times as long as a long one takes', async () => {
    const clock = new ManualClock();
    let stalls = 0;
    const limit: AdaptiveLimit = { limit: 1, record: () => {}, stalled: () => void stalls++ };
    const limiter = new ConcurrencyLimiter({ limit, clock });
    await limiter.run(() => clock.advance(500));
    const held = limiter.tryAcquire();
    const runs: Promise<void>[] = [];
    for (const told of [0, 0, 1]) {
      await clock.advance(1_000);
      runs.push(limiter.run(() => {}));
      expect(stalls).toBe(told);
    }
    held?.release();
    await Promise.all(runs);
  });

  test('does not feed it what says nothing about capacity', async () => {
    const { limiter, records, clock } = setUp();
    await limiter.run(() => Promise.reject(new Error('wrong argument'))).catch(() => {});
    const controller = new AbortController();
    const aborted = limiter.run(({ signal }) => new Promise((_, no) => signal.addEventListener('abort', no)), {
      signal: controller.signal,
    });
    controller.abort(new Error('gone'));
    await expect(aborted).rejects.toThrow('gone');
    limiter.tryAcquire()?.ignore();
    await clock.advance(0);
    const held = [limiter.tryAcquire(), limiter.tryAcquire()];
    void limiter.run(() => {}, { deadlineMs: 1 }).catch(() => {});
    await limiter.run(() => {}).catch((error) => expect(error.reason).toBe('queue_full'));
    await clock.advance(10);
    for (const permit of held) permit?.ignore();
    expect(records).toEqual([]);
    expect(limiter.stats()).toMatchObject({ inFlight: 0, admitted: 5, rejected: { queue_full: 1, deadline: 1 } });
  });

  test('counts overload of what is behind it, and its own time-outs, as failures', async () => {
    const { limiter, records, clock } = setUp();
    await limiter.run(() => Promise.reject({ code: 'ERR_OVERLOADED' })).catch(() => {});
    const slow = limiter
      .run(({ signal }) => new Promise((yes) => signal.addEventListener('abort', yes)), { timeoutMs: 50 })
      .catch(() => {});
    await clock.advance(50);
    await slow;
    limiter.tryAcquire()?.failure(new Error('x'));
    await limiter.run(() => {});
    expect(records).toEqual([
      [0, 1, true],
      [50, 1, true],
      [0, 1, true],
      [0, 1, false],
    ]);
  });

  /** So many calls one after the other, each with 50 ms of patience; whether each was recorded as overload. */
  async function late(runsMs: readonly number[], leave = false): Promise<boolean[]> {
    const { limiter, records, clock } = setUp();
    for (const runMs of runsMs) {
      const controller = new AbortController();
      const work = async () => {
        await clock.advance(runMs);
        if (leave) controller.abort(new Error('gone'));
      };
      await limiter.run(work, { deadlineMs: 50, ...(leave && { signal: controller.signal }) }).catch(() => {});
    }
    return records.map(([, , failed]) => failed);
  }

  test('counts work that alone takes longer than its deadline as overload once half of it does', async () => {
    const every = (n: number) => Array.from({ length: 200 }, (_, at) => (at % n === 0 ? 60 : 10));
    expect((await late(every(1))).indexOf(true)).toBe(13);
    expect((await late(every(3))).includes(true)).toBe(false);
    expect((await late(new Array<number>(200).fill(50))).includes(true)).toBe(false);
    const some = await late([...every(3), ...every(1)]);
    expect(some.indexOf(true)).toBeGreaterThan(200);
    expect(some.at(-1)).toBe(true);
  });

  test('the time in the queue makes no call late', async () => {
    const { limiter, records, clock } = setUp();
    for (let n = 0; n < 50; n++) {
      // Most work is short, so that none is refused for its deadline.
      for (let short = 0; short < 5; short++) await limiter.run(() => clock.advance(10));
      const held = [limiter.tryAcquire(), limiter.tryAcquire()];
      const queued = limiter.run(() => clock.advance(30), { deadlineMs: 50 });
      await clock.advance(25);
      held[0]?.ignore();
      await queued;
      held[1]?.ignore();
    }
    expect(records.filter(([runMs]) => runMs === 30)).toEqual(new Array(50).fill([30, 2, false]));
  });

  test('a call without a deadline is never late', async () => {
    const { limiter, records, clock } = setUp();
    for (let n = 0; n < 50; n++) await limiter.run(() => clock.advance(1_000));
    expect(records).toEqual(new Array(50).fill([1_000, 1, false]));
  });

  test('one whose caller left after its deadline is late as well, one whose caller left before says nothing', async () => {
    expect(await late(new Array<number>(30).fill(60), true)).toEqual(new Array<boolean>(17).fill(true));
    expect(await late(new Array<number>(30).fill(40), true)).toEqual([]);
  });

  test('those who left before their deadline do not make the late ones fewer, and late work is late whatever came of it', async () => {
    const { limiter, records, clock } = setUp();
    for (let n = 0; n < 20; n++) {
      const late = limiter.run(() => clock.advance(60).then(() => Promise.reject(new Error('no'))), { deadlineMs: 50 });
      await expect(late).rejects.toThrow('no');
      for (let left = 0; left < 2; left++) {
        const controller = new AbortController();
        const work = () => clock.advance(40).then(() => controller.abort(new Error('gone')));
        await limiter.run(work, { deadlineMs: 50, signal: controller.signal }).catch(() => {});
      }
    }
    expect(records).toEqual(new Array(7).fill([60, 1, true]));
  });

  test('all that are in flight at once may be late without being many', async () => {
    const clock = new ManualClock();
    const failed: boolean[] = [];
    const limit = { limit: 100, record: (_now: number, _ms: number, _n: number, fails: boolean) => failed.push(fails) };
    const limiter = new ConcurrencyLimiter({ limit, clock });
    const batch = async () => {
      const all = Array.from({ length: 100 }, () =>
        limiter.run(() => new Promise<void>((resolve) => clock.setTimeout(resolve, 60)), { deadlineMs: 50 }),
      );
      await clock.advance(60);
      await Promise.all(all);
    };
    await batch();
    expect(failed.some(Boolean)).toBe(false);
    await batch();
    expect(failed.slice(-50)).toEqual(new Array(50).fill(true));
  });

  test('asks classify, and bears that it throws', async () => {
    const { limiter, records } = setUp((ending) => {
      if ('error' in ending) throw new Error('classify');
      return ending.value === 503 ? 'failure' : 'success';
    });
    await limiter.run(() => 503);
    await limiter.run(() => 200);
    await limiter.run(() => Promise.reject(new Error('x'))).catch(() => {});
    expect(records.map(([, , failed]) => failed)).toEqual([true, false]);
    expect(limiter.stats().inFlight).toBe(0);
  });

  test('follows the limit up and down, and cannot be set by hand', async () => {
    const { limiter, limit } = setUp();
    const permits = [limiter.tryAcquire(), limiter.tryAcquire()];
    expect(limiter.tryAcquire()).toBeUndefined();
    limit.limit = 4;
    permits[0]?.release();
    expect([1, 2, 3, 4].map(() => limiter.tryAcquire() !== undefined)).toEqual([true, true, true, false]);
    limit.limit = 0;
    permits[1]?.release();
    expect(limiter.limit).toBe(1);
    expect(() => limiter.setLimit(5)).toThrow('this one adapts itself');
  });
});
