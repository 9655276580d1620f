import { startPostgres } from '@x/local-services';
import { expect, test } from 'vitest';
import { type Cell, goodput, trial } from './trial/trial.ts';

// Short, with bounds far from what is seen; `pnpm soak` takes its time. Whether the machine can tell is judged by a bulkhead that knows
// the pool: where that holds five times the load, ours has no excuse.

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
  const once = await cell('ours', capacity.perSecond);
  expect(once.perSecond).toBeGreaterThan(0.6 * capacity.perSecond);
  const enough = 0.7 * Math.min(once.perSecond, capacity.perSecond);
  const seen: string[] = [];
  let bulkheadHeld = false;
  // One stall of the machine can start a storm of callers that hang up and come back; a policy that collapses does so every time.
  for (let attempt = 0; attempt < 3; attempt++) {
    const fiveTimes = await cell('ours', 5 * capacity.perSecond);
    expect(fiveTimes.failed).toBe(0);
    if (fiveTimes.perSecond >= enough) {
      expect(fiveTimes.refused).toBeGreaterThan(fiveTimes.good);
      return;
    }
    const bulkhead = await cell('bulkhead', 5 * capacity.perSecond);
    bulkheadHeld ||= bulkhead.perSecond >= enough;
    seen.push(`ours ${fiveTimes.perSecond}, a bulkhead ${bulkhead.perSecond} of ${capacity.perSecond}`);
  }
  if (bulkheadHeld) expect.fail(`at five times the load, in time a second: ${seen.join('; ')}`);
  skip(`this machine cannot tell: ${seen.join('; ')}`);
}, 60_000);
