/**
 * A limit that finds itself from how long work takes. The limiter asks for `limit` after each `record`.
 * It is not called for outcomes that are to be ignored, nor for work that was refused.
 */
export interface AdaptiveLimit {
  /** How much may be in flight now: a whole number from 1. */
  readonly limit: number;
  /**
   * One piece of work ended.
   * @param now monotonic milliseconds
   * @param runMs how long it ran; the time in the queue is not in it
   * @param inFlight how much was in flight when it started, itself included
   * @param failed it failed in a way that speaks of overload
   */
  record(now: number, runMs: number, inFlight: number, failed: boolean): void;
  /**
   * Calls wait, and for long none has begun or ended: work that does not end holds all of the limit. One that was lowered to measure
   * goes back to where it was.
   */
  stalled?(now: number): void;
}

/** The limit after work has ended. A strategy that throws, or has no number for a limit, leaves it as it is: others wait for what follows. */
export function limitAfterWork(
  strategy: AdaptiveLimit,
  before: number,
  now: number,
  runMs: number,
  inFlight: number,
  failed: boolean,
): number {
  try {
    strategy.record(now, runMs, inFlight, failed);
    return wholeLimit(strategy.limit) || before;
  } catch {
    return before;
  }
}

/** The same after nothing has moved for long. */
export function limitAfterStall(strategy: AdaptiveLimit, before: number, now: number): number {
  try {
    strategy.stalled?.(now);
    return wholeLimit(strategy.limit) || before;
  } catch {
    return before;
  }
}

/** From 1, and never more than the strategy says; NaN for what is no number. */
export function wholeLimit(limit: number): number {
  return Math.floor(Math.max(1, limit));
}
