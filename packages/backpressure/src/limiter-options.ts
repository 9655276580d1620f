import type { AdaptiveLimit } from './adaptive-limit.ts';
import { type Classify, classifyByCode } from './classify-outcome.ts';
import { type Clock, systemClock } from './clock.ts';
import type { RejectReason } from './errors.ts';
import {
  checkAtLeast,
  checkClock,
  checkCount,
  checkFunction,
  checkOneOf,
  checkSignal,
  checkString,
  refuse,
} from './option-checks.ts';
import { type Priority, priorities } from './waiting-room.ts';

export interface ConcurrencyLimiterOptions {
  /** How much may be in flight at once: a whole number from 1 (or `Infinity`), or a limit that adapts itself. */
  limit: number | AdaptiveLimit;
  /** How many may wait. Default 1,000; 0 refuses at once what cannot start at once. A good size is what can be done within the callers' patience. */
  maxQueue?: number | undefined;
  /** How long one may wait. Milliseconds, default 30,000; `Infinity` for no bound. Shorter than the callers' own time-outs, or the work is done for nobody. */
  queueTimeoutMs?: number | undefined;
  /**
   * Who is next, within a priority and a caller: `'fifo'` the oldest; `'lifo'` the newest; `'adaptive'` the oldest while all
   * is well, the newest under overload. With a `deadlineMs` that is when the oldest may not end in time any more (by the 95th
   * percentile of run times); without one, when the queue has not been empty for 100 ms, since the oldest's callers have
   * most likely given up (Maurer, "Fail at Scale", ACM Queue 13(8), 2015), and then one grant in eight of each caller's goes to its oldest.
   * Where callers wait for their answer before they ask again, `'fifo'` with a short queue treats them most evenly.
   * With deadlines, in `'adaptive'`, no more wait than can end in time: for a newcomer the oldest of the least important is refused (`shed`), of the caller
   * with most of them. And where the queue has not been empty for 100 ms, whoever may not end in time any more when it is its caller's turn is refused (`deadline`) if the
   * caller whose turn comes last has more time left, and is no more patient.
   * Default `'fifo'`, with an adaptive limit `'adaptive'`.
   */
  order?: 'fifo' | 'lifo' | 'adaptive' | undefined;
  /**
   * What an ending says of the capacity; for an adaptive limit only. Default: a value is `'success'`; an error with the
   * code ERR_TIMEOUT or ERR_OVERLOADED is `'failure'`; any other error is `'ignore'`, for a wrong argument fails fast and proves nothing.
   */
  classify?: Classify | undefined;
  /** Named in errors. Default `'limiter'`. */
  name?: string | undefined;
  clock?: Clock | undefined;
  /** A number from 0 to 1, for the jitter of `retryAfterMs`. Default `Math.random`. */
  random?: (() => number) | undefined;
}

export interface AcquireOptions {
  /** Gives up the place in the queue. */
  signal?: AbortSignal | undefined;
  /** Default `'default'`. */
  priority?: Priority | undefined;
  /** The caller. Callers take turns, so that one with 500 calls does not make another wait for all of them. Calls without a key count as one caller. */
  key?: string | undefined;
  /** When the result is worth nothing any more. Milliseconds from now. Work that has to wait and could not end in time, by how long work takes of late, is refused before it starts; where a permit is free it is tried. */
  deadlineMs?: number | undefined;
}

export interface RunOptions extends AcquireOptions {
  /** How long the work may run once started, in milliseconds. Then its signal aborts and the caller gets ERR_TIMEOUT; the permit is kept until the work has really ended. Default: no bound. */
  timeoutMs?: number | undefined;
}

export interface LimiterStats {
  limit: number;
  inFlight: number;
  queued: number;
  /** How many may wait. */
  maxQueue: number;
  /** Less than 0.8 of the queue is taken (a limiter without a queue: a permit is free), and it is not closed. */
  healthy: boolean;
  /** Work that was started. */
  admitted: number;
  /** Work that has ended, well or badly. */
  completed: number;
  /** Work whose caller left, by abort or time-out, before it ended. */
  abandoned: number;
  /** Of these, what still runs and holds a permit. */
  abandonedInFlight: number;
  rejected: Record<Exclude<RejectReason, 'rate_limited'>, number>;
  /**
   * Time spent in the queue by what was then started. A sum, milliseconds. While calls take less than 50 microseconds in the
   * mean, one in eight is timed and stands for the others, here and in `runMs`.
   */
  queueWaitMs: number;
  /** Time spent running by what has ended. A sum, milliseconds. */
  runMs: number;
}

/** The options with their defaults. Throws at what is none. */
export function checkedLimiterOptions(
  options: ConcurrencyLimiterOptions,
): Required<Defined<ConcurrencyLimiterOptions>> {
  const { limit, maxQueue = 1_000, queueTimeoutMs = 30_000, classify = classifyByCode, name = 'limiter' } = options;
  const { clock = systemClock, random = Math.random } = options;
  const adapts = typeof limit === 'object' && limit !== null;
  if (!adapts) checkCount('limit', limit, 1, true);
  else if (typeof limit.limit !== 'number' || typeof limit.record !== 'function') {
    refuse('limit', 'an integer >= 1 or an adaptive limit', limit);
  } else checkAtLeast('limit.limit', limit.limit, 1);
  const { order = adapts ? 'adaptive' : 'fifo' } = options;
  checkCount('maxQueue', maxQueue, 0, true);
  checkAtLeast('queueTimeoutMs', queueTimeoutMs, 0);
  checkOneOf('order', order, ['fifo', 'lifo', 'adaptive']);
  checkFunction('classify', classify);
  if (options.classify !== undefined && !adapts) {
    refuse('classify', 'left out where the limit is a number, which nothing adapts', classify);
  }
  checkString('name', name);
  checkClock(clock);
  checkFunction('random', random);
  return { limit, maxQueue, queueTimeoutMs, order, classify, name, clock, random };
}

/** Throws at what is none, whether a permit is free or not: a mistake must not show under load only. */
export function checkAcquireOptions({ signal, priority, deadlineMs }: AcquireOptions): void {
  checkSignal(signal);
  if (priority !== undefined) checkOneOf('priority', priority, priorities);
  if (deadlineMs !== undefined) checkAtLeast('deadlineMs', deadlineMs, Number.NEGATIVE_INFINITY);
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };
