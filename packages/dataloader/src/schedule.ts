import process from 'node:process';
import type { Clock } from './clock.ts';
import { checkTimer, wrongOption } from './option-checks.ts';

/**
 * When a batch that has been opened is dispatched:
 * - `'tick'`: after the promise callbacks of the current turn, as graphql/dataloader does.
 * - `'immediate'`: after the I/O events that are ready now, so that requests which arrived together share a batch.
 * - `'adaptive'`: when a turn of the event loop brings nothing more, at once on an idle server and after the burst on a
 *   busy one; while a batch runs, not before it has settled. At most 10 ms after the first key.
 * - `{ windowMs }`: that long after the first key, or as soon as the batch is full; with `maxWaitMs` each further key
 *   starts the window again, up to that long after the first.
 */
export type Schedule = 'tick' | 'immediate' | 'adaptive' | { windowMs: number; maxWaitMs?: number | undefined };

export type ScheduleFn = (dispatch: () => void) => void;

/** What a schedule looks at in a batch. */
export interface Gathering {
  readonly keys: ArrayLike<unknown>;
  readonly dispatched: boolean;
  readonly openedAt: number | undefined;
  readonly joinedAt: number;
  /** Set by the schedule; cleared when the batch goes earlier. */
  timer: unknown;
}

/** With the adaptive schedule: neither a busy loop nor a slow batch holds keys up longer than this. */
export const ADAPTIVE_WAIT_MS = 10;

/** A turn of the event loop that took less has served no request: parsing one takes longer. */
const QUIET_TURN_MS = 0.1;

/** So many quiet turns in a row: a request that is being read comes through in pieces. */
const QUIET_TURNS = 3;

/** In so many turns a request that waits in a socket has become a load: it is accepted, read and parsed in turns of their own. */
const REQUEST_TURNS = 8;

export function checkSchedule(schedule: Schedule): void {
  if (schedule === 'tick' || schedule === 'immediate' || schedule === 'adaptive') return;
  if (typeof schedule !== 'object' || schedule === null) {
    throw wrongOption('schedule', "'tick', 'immediate', 'adaptive' or { windowMs, maxWaitMs? }", schedule);
  }
  checkTimer('schedule.windowMs', schedule.windowMs);
  if (schedule.maxWaitMs === undefined) return;
  checkTimer('schedule.maxWaitMs', schedule.maxWaitMs);
  if (schedule.maxWaitMs < schedule.windowMs) {
    throw wrongOption('schedule.maxWaitMs', `at least windowMs (${schedule.windowMs})`, schedule.maxWaitMs);
  }
}

const resolved = Promise.resolve();

/**
 * Runs `dispatch(batch)` when no promise callback of this turn is left. Node empties the queue of promise callbacks before
 * it goes back to that of `nextTick`, so a tick that is asked for from a promise callback comes after all of them. Where
 * there is no `nextTick` (upstream runs in browsers too) the next turn of the loop is the nearest thing.
 */
export const afterPromises: <T>(dispatch: (batch: T) => void, batch: T) => void =
  typeof process === 'object' && typeof process.nextTick === 'function'
    ? (dispatch, batch) => void resolved.then(() => process.nextTick(dispatch, batch))
    : typeof setImmediate === 'function'
      ? (dispatch, batch) => void setImmediate(dispatch, batch)
      : (dispatch, batch) => void setTimeout(dispatch, 0, batch);

/**
 * Calls `dispatch` when no key has joined for `windowMs`, or `maxWaitMs` after the first. A process that was held up finds the
 * window over and requests waiting in its sockets: the event loop turns a few times more before the window is taken for over.
 */
export function slidingWindow(
  clock: Clock,
  { windowMs, maxWaitMs = windowMs }: { windowMs: number; maxWaitMs?: number | undefined },
  batch: Gathering,
  dispatch: () => void,
): void {
  let turns = 0;
  const look = () => {
    if (batch.dispatched) return;
    const now = clock.now();
    const endsAt = (batch.openedAt ?? 0) + maxWaitMs;
    const msLeft = Math.min(endsAt, batch.joinedAt + windowMs) - now;
    if (msLeft > 0) wait(msLeft);
    else if (++turns >= REQUEST_TURNS || now >= endsAt) dispatch();
    else setImmediate(look);
  };
  const wait = (ms: number) => {
    turns = 0;
    batch.timer = clock.setTimeout(() => setImmediate(look), ms);
  };
  wait(windowMs);
}

/** Calls `dispatch` when the event loop has brought neither a key nor other work for a few turns. An idle one turns in microseconds. */
export function whenQuiet(clock: Clock, batch: Gathering, dispatch: () => void): void {
  let keys = -1;
  let turnBegan = 0;
  let quietTurns = 0;
  const look = () => {
    if (batch.dispatched) return;
    const now = clock.now();
    const quiet = batch.keys.length === keys && now - turnBegan < QUIET_TURN_MS;
    quietTurns = quiet ? quietTurns + 1 : 0;
    if (quietTurns === QUIET_TURNS || now - (batch.openedAt ?? 0) >= ADAPTIVE_WAIT_MS) {
      dispatch();
      return;
    }
    keys = batch.keys.length;
    turnBegan = now;
    setImmediate(look);
  };
  setImmediate(look);
}
