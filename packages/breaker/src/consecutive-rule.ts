import type { TripReason, TripRule } from './trip-rule.ts';

/** Opens after so many failures in a row. */
export class ConsecutiveRule implements TripRule {
  readonly #threshold: number;
  #failures = 0;

  constructor(threshold: number) {
    this.#threshold = threshold;
  }

  record(failed: boolean): TripReason | undefined {
    if (!failed) {
      this.#failures = 0;
      return undefined;
    }
    this.#failures += 1;
    return this.#failures >= this.#threshold ? 'failure-threshold' : undefined;
  }

  clear(): void {
    this.#failures = 0;
  }
}
