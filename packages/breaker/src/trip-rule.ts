export type TripReason = 'failure-threshold' | 'failure-rate' | 'slow-call-rate';

/** When a closed circuit opens. The states, permits and clocks are the breaker's; a rule only counts. */
export interface TripRule {
  /** Counts one outcome and says why the circuit should open now, if it should. */
  record(failed: boolean, slow: boolean, now: number): TripReason | undefined;
  /** Forgets everything. */
  clear(): void;
}

/** Several rules at once: each sees every outcome, and the first that is broken is the reason. */
export class AnyRule implements TripRule {
  readonly #rules: readonly TripRule[];

  constructor(rules: readonly TripRule[]) {
    this.#rules = rules;
  }

  record(failed: boolean, slow: boolean, now: number): TripReason | undefined {
    let reason: TripReason | undefined;
    for (const rule of this.#rules) {
      const own = rule.record(failed, slow, now);
      reason ??= own;
    }
    return reason;
  }

  clear(): void {
    for (const rule of this.#rules) rule.clear();
  }
}
