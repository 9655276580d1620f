import { startPostgres } from '@x/local-services';
import { expect, test } from 'vitest';
import { type Cell, goodput, trial } from './trial/trial.ts';

// Short, with bounds far from what is seen; `pnpm soak` takes its time. Whether the machine can tell is judged by a bulkhead that knows
// the pool: where that holds the load, ours has no excuse.

const countedMs = 2_000;
/** Four connections, 20 ms a call, and what a query costs besides. */
const leastCapacity = 120;

test('against a real server and PostgreSQL, the answers in time at five times the load are as many as at once', async ({
  skip,
}) => {
  await using postgres = await startPostgres();
  const url = await postgres.createDatabase();
  const cell = async (policy: Cell['policy'], perSecond: number) => {
    const shape = 'withAdmission';
    const seen = await trial({
      url,
      policy,
      shape,
      perSecond,
      countedMs,
      work: 'query',
      warmUpMs: 1_500,
      connections: 'kept',
    });
    return { ...seen, perSecond: goodput(seen, { countedMs }) };
  };
  const capacity = await cell('bulkhead', 900);
  if (capacity.perSecond < leastCapacity)
    skip(`this machine cannot tell: a bulkhead answers ${capacity.perSecond} calls a second`);
  // One stall of the machine can start a storm of callers that hang up and come back; a policy that collapses does so every time.
  const hold = async (perSecond: number, enough: number) => {
    const seen: string[] = [];
    let bulkheadHeld = false;
    for (let attempt = 0; attempt < 3; attempt++) {
      const ours = await cell('ours', perSecond);
      expect(ours.failed).toBe(0);
      if (ours.perSecond >= enough) return ours;
      const bulkhead = await cell('bulkhead', perSecond);
      bulkheadHeld ||= bulkhead.perSecond >= enough;
      seen.push(`ours ${ours.perSecond}, a bulkhead ${bulkhead.perSecond}`);
    }
    const what = `${perSecond} calls a second, of which ${enough} were to be answered in time: ${seen.join('; ')}`;
    if (bulkheadHeld) expect.fail(what);
    return skip(`this machine cannot tell: ${what}`);
  };
  const once = await hold(capacity.perSecond, 0.6 * capacity.perSecond);
  const fiveTimes = await hold(5 * capacity.perSecond, 0.7 * Math.min(once.perSecond, capacity.perSecond));
  expect(fiveTimes.refused).toBeGreaterThan(fiveTimes.good);
}, 90_000);
