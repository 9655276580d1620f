import type { Outcome } from './permit.ts';

interface Asked {
  deadlineMs?: number | undefined;
  key?: string | undefined;
}

/**
 * The share of late calls, exponentially smoothed. One late call says little: some work takes that long. When many are late
 * there is too much in work at once, as where a limit has grown so far that all calls wait for each other.
 *
 * Then the calls of more than one caller are late. Whoever asks for its answers in no time is late whatever the limit, and must not
 * make it smaller for the others: so many must be late without the caller that is late most often, unless there is nobody else. Who that
 * is, is found by votes, in memory for one (Boyer and Moore, 1981): whoever has more late calls than all others together stays.
 */
export class LateShare {
  readonly #many: number;
  #share = 0;
  /** Who is late most often, and the share without those calls. */
  #latest: string | undefined;
  #votes = 0;
  #shareOfOthers = 0;
  /** The calls since there was another caller; no end to them before there was any. */
  #inRow = Number.POSITIVE_INFINITY;
  #previous: string | undefined;
  #hasBegun = false;

  /** @param many the share from which on they are many; default one in four */
  constructor(many: number = 0.25) {
    this.#many = many;
  }

  /** Takes in a call; true if it was late and many are, of about the last `over`. Callers without a name are one. */
  record(late: boolean, caller?: string, over: number = leastCalls): boolean {
    const calls = Math.max(over, leastCalls);
    this.recordPatient(caller);
    this.#share = moved(this.#share, late, calls);
    if (late) this.#vote(caller, calls);
    if (caller !== this.#latest) this.#shareOfOthers = moved(this.#shareOfOthers, late, calls);
    return late && this.#share >= this.#many && (this.#inRow >= calls || this.#shareOfOthers >= this.#many);
  }

  /** A call without a deadline cannot be late; it shows that its caller is there. */
  recordPatient(caller?: string): void {
    if (caller === this.#previous) this.#inRow++;
    else if (this.#hasBegun) this.#inRow = 0;
    this.#previous = caller;
    this.#hasBegun = true;
  }

  /**
   * What a call that ran for so long says of the capacity: overload if it was late and many are. All that a `limit` lets run at once may be
   * late for one reason, so they alone are not many. One whose caller left before it was late says nothing of lateness either; one whose
   * caller left later is as late as one that was answered.
   */
  judge(outcome: Outcome, runMs: number, asked: Asked | undefined, limit: number): Outcome {
    if (asked?.deadlineMs === undefined) {
      this.recordPatient(asked?.key);
      return outcome;
    }
    const late = runMs > asked.deadlineMs;
    if (outcome === 'ignore' && !late) return 'ignore';
    return this.record(late, asked.key, 2 * limit) ? 'failure' : outcome;
  }

  #vote(caller: string | undefined, most: number): void {
    if (caller === this.#latest) this.#votes = Math.min(this.#votes + 1, most);
    else if (this.#votes > 0) this.#votes--;
    else {
      this.#latest = caller;
      this.#votes = 1;
      this.#shareOfOthers = this.#share;
    }
  }
}

function moved(share: number, late: boolean, calls: number): number {
  return share + ((late ? 1 : 0) - share) / calls;
}

const leastCalls = 20;
