import type { Outcome } from './permit.ts';

/**
 * The share of late calls, exponentially smoothed. One late call says little: some work takes that long. When many are late
 * there is too much in work at once, as where a limit has grown so far that all calls wait for each other.
 */
export class LateShare {
  readonly #many: number;
  #share = 0;

  /** @param many the share from which on they are many; default one in four */
  constructor(many: number = 0.25) {
    this.#many = many;
  }

  /** Takes in a call; true if it was late and many are, of about the last `over`. */
  record(late: boolean, over: number = leastCalls): boolean {
    this.#share += ((late ? 1 : 0) - this.#share) / Math.max(over, leastCalls);
    return late && this.#share >= this.#many;
  }

  /**
   * What a call says of the capacity: overload if it was late and many are. All that a `limit` lets run at once may be late for one
   * reason, so they alone are not many. One whose caller left before it was late says nothing of lateness either; one whose
   * caller left later is as late as one that was answered.
   */
  judge(outcome: Outcome, late: boolean, limit: number): Outcome {
    if (outcome === 'ignore' && !late) return 'ignore';
    return this.record(late, 2 * limit) ? 'failure' : outcome;
  }
}

const leastCalls = 20;
