/** The outcomes that a rate is computed over. Its sums are kept as it moves, so that reading them costs nothing. */
export interface OutcomeWindow {
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
  add(failed: boolean, slow: boolean, now: number): void;
  clear(): void;
}

const FAILED = 1;
const SLOW = 2;

/** The last `size` outcomes, a byte for each. */
export class CountWindow implements OutcomeWindow {
  calls = 0;
  failures = 0;
  slow = 0;
  #next = 0;
  readonly #outcomes: Uint8Array;

  constructor(size: number) {
    this.#outcomes = new Uint8Array(size);
  }

  add(failed: boolean, slow: boolean): void {
    if (this.calls === this.#outcomes.length) {
      const oldest = this.#outcomes[this.#next] ?? 0;
      if (oldest & FAILED) this.failures -= 1;
      if (oldest & SLOW) this.slow -= 1;
    } else {
      this.calls += 1;
    }
    this.#outcomes[this.#next] = (failed ? FAILED : 0) | (slow ? SLOW : 0);
    this.#next = (this.#next + 1) % this.#outcomes.length;
    if (failed) this.failures += 1;
    if (slow) this.slow += 1;
  }

  clear(): void {
    this.calls = this.failures = this.slow = this.#next = 0;
  }
}

/**
 * The outcomes of the last `ms` milliseconds, in a fixed number of buckets. What is counted is never older than the
 * window, and at most one bucket's width younger than it might be: buckets leave whole.
 */
export class TimeWindow implements OutcomeWindow {
  calls = 0;
  failures = 0;
  slow = 0;
  /** Which bucket of all time is being filled. */
  #current = 0;
  readonly #bucketMs: number;
  readonly #count: number;
  /** Calls, failures and slow calls of each bucket, in threes. */
  readonly #sums: Float64Array;

  constructor(ms: number, buckets: number) {
    this.#bucketMs = ms / buckets;
    this.#count = buckets;
    this.#sums = new Float64Array(buckets * 3);
  }

  add(failed: boolean, slow: boolean, now: number): void {
    const bucket = Math.floor(now / this.#bucketMs);
    if (bucket > this.#current) this.#moveTo(bucket);
    const at = (this.#current % this.#count) * 3;
    const sums = this.#sums;
    sums[at] = (sums[at] ?? 0) + 1;
    this.calls += 1;
    if (failed) {
      sums[at + 1] = (sums[at + 1] ?? 0) + 1;
      this.failures += 1;
    }
    if (slow) {
      sums[at + 2] = (sums[at + 2] ?? 0) + 1;
      this.slow += 1;
    }
  }

  clear(): void {
    this.calls = this.failures = this.slow = 0;
    this.#sums.fill(0);
  }

  // However long nothing was recorded, every bucket that has left the window is emptied, and each at most once.
  #moveTo(bucket: number): void {
    const first = Math.max(this.#current + 1, bucket - this.#count + 1);
    for (let passed = first; passed <= bucket; passed += 1) {
      const at = (passed % this.#count) * 3;
      this.calls -= this.#sums[at] ?? 0;
      this.failures -= this.#sums[at + 1] ?? 0;
      this.slow -= this.#sums[at + 2] ?? 0;
      this.#sums.fill(0, at, at + 3);
    }
    this.#current = bucket;
  }
}
