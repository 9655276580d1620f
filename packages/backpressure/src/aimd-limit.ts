import type { AdaptiveLimit } from './adaptive-limit.ts';
import { checkPositive, refuse } from './option-checks.ts';
import {
  type AdaptiveLimitBounds,
  type AdaptiveLimitOptions,
  adaptiveLimitBounds,
  SampleWindow,
} from './sample-window.ts';

export interface AimdLimitOptions extends AdaptiveLimitOptions {
  /** Calls that take longer on average count as overload. Milliseconds, default: none do, only failures count. */
  slowMs?: number | undefined;
  /** What the limit is multiplied with on overload. Above 0, below 1, default 0.9. */
  backoff?: number | undefined;
}

/**
 * Grows by one in each window in which the limit was of use, shrinks by a factor on overload: additive increase,
 * multiplicative decrease (Chiu and Jain, 1989), as TCP does. It needs to be told what overload is: failures, or `slowMs`.
 */
export class AimdLimit implements AdaptiveLimit {
  readonly #bounds: AdaptiveLimitBounds;
  readonly #slowMs: number;
  readonly #backoff: number;
  readonly #window: SampleWindow;
  #limit: number;

  constructor(options: AimdLimitOptions = {}) {
    const { slowMs = Number.POSITIVE_INFINITY, backoff = 0.9 } = options;
    if (slowMs !== Number.POSITIVE_INFINITY) checkPositive('slowMs', slowMs);
    checkPositive('backoff', backoff);
    if (backoff >= 1) refuse('backoff', 'below 1', backoff);
    this.#bounds = adaptiveLimitBounds(options);
    this.#slowMs = slowMs;
    this.#backoff = backoff;
    this.#window = new SampleWindow(options.windowMs);
    this.#limit = this.#bounds.initialLimit;
  }

  get limit(): number {
    return Math.floor(this.#limit);
  }

  record(now: number, runMs: number, inFlight: number, failed: boolean): void {
    if (!this.#window.add(now, runMs, inFlight, failed)) return;
    const { meanMs, maxInFlight } = this.#window;
    if (this.#window.failed || (meanMs ?? 0) > this.#slowMs) {
      this.#limit = Math.max(this.#bounds.minLimit, this.#limit * this.#backoff);
    } else if (maxInFlight * 2 >= this.#limit) {
      this.#limit = Math.min(this.#bounds.maxLimit, this.#limit + 1);
    }
  }
}
