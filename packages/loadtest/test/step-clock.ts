import { setImmediate as turn } from 'node:timers/promises';
import { type LoadTestOptions, type LoadTestResult, runLoadTest } from '@x/loadtest';
import type { ManualClock } from '@x/testkit';

/**
 * Runs a load test on a clock that stands while a request is in flight and moves when the generator waits for its time:
 * however busy the machine is, all takes exactly as long as the server says.
 */
export async function runOnStepClock(options: LoadTestOptions, clock: ManualClock): Promise<LoadTestResult> {
  const { timeoutMs = 30_000 } = options;
  const inFlight = new Set<unknown>();
  const run = runLoadTest({
    ...options,
    timeoutMs,
    clock: {
      now: clock.now,
      setTimeout(fn, ms) {
        const timer = clock.setTimeout(() => {
          inFlight.delete(timer);
          fn();
        }, ms);
        // An exchange is the only thing that waits for so long.
        if (ms === timeoutMs) inFlight.add(timer);
        return timer;
      },
      clearTimeout(timer) {
        inFlight.delete(timer);
        clock.clearTimeout(timer);
      },
    },
  });
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  run.then(end, end);
  while (!ended) {
    if (inFlight.size === 0 && clock.pendingTimers > 0) await clock.advance(1);
    else await turn();
  }
  return run;
}
