import { type Clock, systemClock } from './clock.ts';
import { checkAtLeast, checkClock, checkPositive, checkRatio } from './option-checks.ts';
import { RollingCounts } from './rolling-counts.ts';

export interface RetryBudgetOptions {
  /** How many retries there may be for each call. 0 to 1, default 0.1. */
  ratio?: number | undefined;
  /** So many are allowed whatever the calls, or a caller with few calls could never retry. A second, default 1. */
  minRetriesPerSecond?: number | undefined;
  /** Over how long calls and retries are counted. Milliseconds, default 10,000. */
  windowMs?: number | undefined;
  clock?: Clock | undefined;
}

export interface RetryBudgetStats {
  /** First calls in the window. */
  calls: number;
  /** Retries in the window. */
  retries: number;
  /** Retries refused since the start. */
  denied: number;
}

/**
 * Lets retries be a small share of all calls: what fails because it is overloaded is not asked three times as often
 * (SRE book, ch. 22, "Addressing Cascading Failures"; the window and the minimum are those of Finagle's budget).
 */
export class RetryBudget {
  readonly #ratio: number;
  readonly #reserve: number;
  readonly #clock: Clock;
  readonly #counts: RollingCounts;
  #denied = 0;

  constructor(options: RetryBudgetOptions = {}) {
    const { ratio = 0.1, minRetriesPerSecond = 1, windowMs = 10_000, clock = systemClock } = options;
    checkRatio('ratio', ratio);
    checkAtLeast('minRetriesPerSecond', minRetriesPerSecond, 0);
    checkPositive('windowMs', windowMs);
    checkClock(clock);
    this.#ratio = ratio;
    this.#reserve = (minRetriesPerSecond * windowMs) / 1_000;
    this.#clock = clock;
    this.#counts = new RollingCounts(windowMs, clock.now());
  }

  /** To be called for each first attempt. */
  recordCall(): void {
    this.#counts.moveTo(this.#clock.now());
    this.#counts.add(1, 0);
  }

  /** True if a retry may be made now; it is then counted. */
  tryRetry(): boolean {
    this.#counts.moveTo(this.#clock.now());
    const { all: calls, some: retries } = this.#counts;
    if (retries + 1 > this.#reserve + calls * this.#ratio) {
      this.#denied++;
      return false;
    }
    this.#counts.add(0, 1);
    return true;
  }

  stats(): RetryBudgetStats {
    this.#counts.moveTo(this.#clock.now());
    return { calls: this.#counts.all, retries: this.#counts.some, denied: this.#denied };
  }
}
