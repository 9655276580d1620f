import type { Clock } from './clock.ts';
import type { RunTimes } from './run-times.ts';

/**
 * A clock that is not read for every call where calls are so short that reading it would be a good part of them: while they take
 * less than 50 microseconds in the mean, one in eight is timed and stands for the others. Longer ones are all timed.
 */
export class SampledClock {
  /** The last time that was read. */
  latest: number;
  /** Set where something hangs on the time of each call: an adaptive limit, a deadline. */
  timesAll: boolean;
  readonly #clock: Clock;
  readonly #runTimes: RunTimes;
  #calls = 0;
  #burstAt: number | undefined;

  constructor(clock: Clock, runTimes: RunTimes, timesAll: boolean) {
    this.#clock = clock;
    this.#runTimes = runTimes;
    this.timesAll = timesAll;
    this.latest = clock.now();
  }

  now(): number {
    this.latest = this.#clock.now();
    return this.latest;
  }

  /** Now, or NaN for a call that is not timed. */
  start(): number {
    const { count, meanMs } = this.#runTimes;
    if (this.timesAll || count < firstCalls || meanMs >= shortMs) return this.now();
    return this.#calls++ % oneIn === 0 ? this.now() : Number.NaN;
  }

  /** Now, read once for all who come without a turn of the promise jobs between them. */
  arrival(): number {
    if (this.#burstAt === undefined) {
      this.#burstAt = this.now();
      void settled.then(this.#endBurst);
    }
    return this.#burstAt;
  }

  readonly #endBurst = (): void => {
    this.#burstAt = undefined;
  };
}

const settled = Promise.resolve();
const shortMs = 0.05;
const oneIn = 8;
const firstCalls = 10;
