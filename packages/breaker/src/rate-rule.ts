import type { OutcomeWindow } from './outcome-window.ts';
import type { TripReason, TripRule } from './trip-rule.ts';

export interface RateLimits {
  failureRate: number;
  /** Above 1 when slow calls do not count. */
  slowRate: number;
  minimumCalls: number;
}

/** Opens when the share of failures, or of slow calls, in a window reaches a limit. */
export class RateRule implements TripRule {
  readonly #window: OutcomeWindow;
  readonly #limits: RateLimits;

  constructor(window: OutcomeWindow, limits: RateLimits) {
    this.#window = window;
    this.#limits = limits;
  }

  record(failed: boolean, slow: boolean, now: number): TripReason | undefined {
    const window = this.#window;
    const { failureRate, slowRate, minimumCalls } = this.#limits;
    window.add(failed, slow, now);
    if (window.calls < minimumCalls) return undefined;
    // Also after a success: it may be the call that makes up the minimum.
    if (window.failures > 0 && window.failures >= failureRate * window.calls) return 'failure-rate';
    if (window.slow > 0 && window.slow >= slowRate * window.calls) return 'slow-call-rate';
    return undefined;
  }

  clear(): void {
    this.#window.clear();
  }
}
