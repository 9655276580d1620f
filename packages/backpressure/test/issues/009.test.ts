import { ConcurrencyLimiter, KneeLimit } from '@x/backpressure';
import { ManualClock, simulateOverload } from '@x/testkit';
import { describe, expect, test } from 'vitest';
import { serve } from '../admission-server.ts';

// One caller whose deadlines nobody could keep (1 ms for work of 10) made up most of the late calls, and each counted as overload: an
// adaptive limit of 13 went down to 2, for all callers.

/** What the limit was in ten seconds of which 0.8 of the capacity is asked for, most of it by one caller who gives 1 ms. */
async function limits(others: { deadlineMs?: number }): Promise<number[]> {
  const limit = new KneeLimit();
  const seen: number[] = [];
  let calls = 0;
  await simulateOverload(
    (surroundings) => {
      const limiter = new ConcurrencyLimiter({ limit, ...surroundings });
      return (work) => {
        seen.push(limiter.limit);
        const isHostile = calls++ % 5 !== 0;
        return limiter.run(work, isHostile ? { key: 'hostile', deadlineMs: 1 } : { key: 'other', ...others });
      };
    },
    { load: () => 0.8, fromMs: 0, endMs: 13_000, seed: 1 },
  );
  return seen.slice(seen.length / 4).sort((a, b) => a - b);
}

test.each([[{ deadlineMs: 100 }], [{}]])(
  'who gives no time does not take the limit from others with %o',
  async (others) => {
    const seen = await limits(others);
    expect(seen[seen.length >> 1]).toBeGreaterThanOrEqual(10);
  },
);

describe('in run', () => {
  type Call = readonly [caller: string | undefined, deadlineMs: number | undefined];
  const late = 5;
  const inTime = 50;
  const times = (n: number, ...calls: Call[]): Call[] => Array.from({ length: n }, () => calls).flat();

  /** One call after the other, all of 10 ms. Which of them were recorded as overload. */
  async function overload(calls: readonly Call[]): Promise<Call[]> {
    const clock = new ManualClock();
    const seen: boolean[] = [];
    const record = (_now: number, _runMs: number, _inFlight: number, failed: boolean) => void seen.push(failed);
    const limiter = new ConcurrencyLimiter({ limit: { limit: 2, record }, clock });
    for (const [key, deadlineMs] of calls) await limiter.run(() => clock.advance(10), { key, deadlineMs });
    return calls.filter((_, at) => seen[at]);
  }

  test('the late calls of one are nothing while those of others are in time, or cannot be late', async () => {
    for (const patience of [inTime, undefined]) {
      expect(await overload(times(50, ['b', patience], ['a', late], ['a', late], ['a', late]))).toEqual([]);
    }
  });

  test('callers without a name are one', async () => {
    expect(await overload(times(50, [undefined, undefined], ['a', late], ['a', late]))).toEqual([]);
    expect(await overload(times(50, ['a', inTime], [undefined, late], [undefined, late]))).toEqual([]);
  });

  test('who is alone is the only one to tell, from the beginning or when nobody else has called for a while', async () => {
    expect((await overload(times(100, ['a', late]))).length).toBe(100 - 13);
    const left = await overload([...times(50, ['a', late], ['b', inTime]), ...times(100, ['a', late])]);
    expect(left.length).toBe(100 - 20);
  });

  test('where several are late all of them tell', async () => {
    const seen = await overload(times(100, ['a', late], ['a', late], ['b', late]));
    // All but those before the share of `b` alone is a half.
    expect(seen.length).toBe(262);
    expect((await overload(times(100, ['a', late], ['b', late], ['c', late]))).length).toBeGreaterThan(250);
  });

  test('where the one of before has changed its ways the next one is found', async () => {
    const before = times(100, ['a', late], ['b', inTime]);
    const turned = times(30, ['a', inTime], ['b', late], ['b', late]);
    const found = await overload([...before, ...turned]);
    expect(await overload([...before, ...turned, ...turned])).toEqual(found);
  });
});

test.each([
  ['at once', 100],
  ['at once', undefined],
  ['after a wait', 100],
  ['after a wait', undefined],
] as const)('behind the gate of requests as well: let in %s, others give %s ms', async (when, patience) => {
  let now = 0;
  const clock = { now: () => now, setTimeout: () => undefined, clearTimeout: () => {} };
  const given: string[] = [];
  const permit = { release: () => given.push('release'), failure: () => given.push('failure') };
  const { url } = await serve(
    (_request, response) => {
      now += 10;
      response.end();
    },
    {
      clock,
      limiter: { tryAcquire: () => (when === 'at once' ? permit : undefined), acquire: async () => permit },
      key: (request) => String(request.headers['x-caller']),
      deadlineMs: (request) => Number(request.headers['x-deadline-ms']) || undefined,
    },
  );
  const ask = async (caller: string, deadlineMs?: number) => {
    const before = given.length;
    const headers = { 'x-caller': caller, ...(deadlineMs && { 'x-deadline-ms': String(deadlineMs) }) };
    await fetch(url, { headers });
    // The answer may be here before the server's side has closed.
    while (given.length === before) await new Promise(setImmediate);
  };
  for (let n = 0; n < 30; n++) {
    await ask('other', patience);
    await ask('hostile', 1);
    await ask('hostile', 1);
  }
  expect(given).toEqual(new Array(90).fill('release'));
  for (let n = 0; n < 30; n++) await ask('other', 1);
  expect(given.slice(-5)).toEqual(new Array(5).fill('failure'));
});
