import type { Clock } from './clock.ts';
import { checkDuration, wrongOption } from './option-checks.ts';

/**
 * When a batch that has been opened is dispatched:
 * - `'tick'`: after the promise callbacks of the current turn, as graphql/dataloader does.
 * - `'immediate'`: after the I/O events that are ready now, so that requests which arrived together share a batch.
 * - `{ windowMs }`: that long after the first key, or as soon as the batch is full; with `maxWaitMs` each further key
 *   starts the window again, up to that long after the first.
 * - `'adaptive'`: as `'immediate'` while no batch is running, else when one has settled, or 10 ms after the first key.
 */
export type Schedule = 'tick' | 'immediate' | 'adaptive' | { windowMs: number; maxWaitMs?: number | undefined };

export type ScheduleFn = (dispatch: () => void) => void;

export function checkSchedule(schedule: Schedule): void {
  if (schedule === 'tick' || schedule === 'immediate' || schedule === 'adaptive') return;
  if (typeof schedule !== 'object' || schedule === null) {
    throw wrongOption('schedule', "'tick', 'immediate', 'adaptive' or { windowMs, maxWaitMs? }", schedule);
  }
  checkDuration('schedule.windowMs', schedule.windowMs);
  if (schedule.maxWaitMs === undefined) return;
  checkDuration('schedule.maxWaitMs', schedule.maxWaitMs);
  if (schedule.maxWaitMs < schedule.windowMs) {
    throw wrongOption('schedule.maxWaitMs', `at least windowMs (${schedule.windowMs})`, schedule.maxWaitMs);
  }
}

const resolved = Promise.resolve();

/**
 * Runs `dispatch` when no promise callback of this turn is left. Node empties the queue of promise callbacks before it goes
 * back to that of `nextTick`, so a tick that is asked for from a promise callback comes after all of them.
 */
export function afterPromises(dispatch: () => void): void {
  void resolved.then(() => process.nextTick(dispatch));
}

/**
 * Calls `dispatch` when no key has joined for `windowMs`, or `maxWaitMs` after now. A process that was held up finds the
 * window over and requests waiting in its sockets: those that are ready are read before the window is taken for over.
 */
export function slidingWindow(
  clock: Clock,
  { windowMs, maxWaitMs = windowMs }: { windowMs: number; maxWaitMs?: number | undefined },
  joinedAt: () => number,
  dispatch: () => void,
): void {
  const end = clock.now() + maxWaitMs;
  const look = () => {
    const msLeft = Math.min(end, joinedAt() + windowMs) - clock.now();
    if (msLeft <= 0) dispatch();
    else clock.setTimeout(() => setImmediate(look), msLeft);
  };
  clock.setTimeout(() => setImmediate(look), windowMs);
}
