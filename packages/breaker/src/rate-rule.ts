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
    if (reaches(window.failures, window.calls, failureRate)) return 'failure-rate';
    if (reaches(window.slow, window.calls, slowRate)) return 'slow-call-rate';
    return undefined;
  }

  clear(): void {
    this.#window.clear();
  }
}

/** Whether so many of `calls`, one at least, are a share of `rate`. */
// Divided, not multiplied: 55 / 100 is the very number that 0.55 is, while 0.55 * 100 is a little more than 55.
export function reaches(count: number, calls: number, rate: number): boolean {
  return count > 0 && count / calls >= rate;
}
