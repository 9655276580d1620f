import type { RunTimes } from './run-times.ts';

/** Tells one who is refused when to come back: how long those ahead take, and for how long nothing has moved at all. */
export class RetryEstimate {
  readonly #runTimes: RunTimes;
  readonly #random: () => number;
  /** When work last started or ended, as far as that was timed; and whether more did since. */
  #lastMoveAt: number;
  #movedSince = false;

  constructor(runTimes: RunTimes, random: () => number, now: number) {
    this.#runTimes = runTimes;
    this.#random = random;
    this.#lastMoveAt = now;
  }

  /** Work started or ended at `now`; NaN where that was not timed. */
  moved(now: number): void {
    if (Number.isNaN(now)) this.#movedSince = true;
    else this.#lastMoveAt = now;
  }

  /** Whether nothing has started or ended for a second, and four times as long as a long call takes. Where all are timed. */
  isStalled(now: number): boolean {
    return now - this.#lastMoveAt > Math.max(1_000, 4 * this.#runTimes.longMs);
  }

  /**
   * Until a permit would be free for one who came now: all that wait ahead, as fast as work ends when all permits are in
   * use (a permit's share of the mean run time, by Little's law), and for how long nothing has moved.
   */
  retryAfterMs(now: number, waiting: number, limit: number): number {
    if (this.#movedSince) this.#lastMoveAt = now;
    this.#movedSince = false;
    const wait = this.#runTimes.count === 0 ? unknownWaitMs : ((waiting + 1) * this.#runTimes.meanMs) / limit;
    return Math.ceil(
      Math.min(Math.max(wait + now - this.#lastMoveAt, minRetryMs), maxRetryMs) * (1 + this.#random() / 2),
    );
  }
}

const unknownWaitMs = 1_000;
const minRetryMs = 100;
const maxRetryMs = 60_000;
