import { checkCount, checkPositive, refuse } from './option-checks.ts';

export interface AdaptiveLimitOptions {
  /** The limit to begin with. A whole number from 1, default 20, or the bound that is nearest to it. */
  initialLimit?: number | undefined;
  /** Never below this. A whole number from 1, default 1. */
  minLimit?: number | undefined;
  /** Never above this. A whole number, default 1,000. */
  maxLimit?: number | undefined;
  /** How long calls are looked at together before the limit changes. Milliseconds, default 100: with 1,000 a brown-out is noticed too late. */
  windowMs?: number | undefined;
}

export interface AdaptiveLimitBounds {
  initialLimit: number;
  minLimit: number;
  maxLimit: number;
}

/** Collects calls for a while, since single run times are mostly noise. */
export class SampleWindow {
  /** Of the window that is complete: how long calls ran on average, in milliseconds. How soon a call failed says nothing, so undefined where all did. */
  meanMs: number | undefined;
  /** By how much that may be off: its standard error, from how much the calls differ. */
  errorMs = 0;
  /** How much was in flight at most. */
  maxInFlight = 0;
  /** Whether a call failed for overload. */
  failed = false;
  readonly #windowMs: number;
  #endsAt: number | undefined;
  #count = 0;
  #failures = 0;
  #sumMs = 0;
  #sumOfSquares = 0;
  #most = 0;

  constructor(windowMs = 100) {
    checkPositive('windowMs', windowMs);
    this.#windowMs = windowMs;
  }

  /** Adds a call; true if that completed a window. One with few calls stays open until it has enough. */
  add(now: number, runMs: number, inFlight: number, failed: boolean): boolean {
    this.#endsAt ??= now + this.#windowMs;
    this.#count++;
    if (failed) this.#failures++;
    else {
      this.#sumMs += runMs;
      this.#sumOfSquares += runMs * runMs;
    }
    if (inFlight > this.#most) this.#most = inFlight;
    if (now < this.#endsAt || this.#count < enough) return false;
    const succeeded = this.#count - this.#failures;
    this.meanMs = succeeded > 0 ? this.#sumMs / succeeded : undefined;
    this.errorMs = this.#error(succeeded);
    this.maxInFlight = this.#most;
    this.failed = this.#failures > 0;
    this.clear();
    this.#endsAt = now + this.#windowMs;
    return true;
  }

  /** Forgets the calls of the window that is not complete. */
  clear(): void {
    this.#endsAt = undefined;
    this.#count = 0;
    this.#failures = 0;
    this.#sumMs = 0;
    this.#sumOfSquares = 0;
    this.#most = 0;
  }

  #error(calls: number): number {
    if (calls < 2) return 0;
    const variance = (this.#sumOfSquares - (this.#sumMs * this.#sumMs) / calls) / (calls - 1);
    return Math.sqrt(Math.max(0, variance) / calls);
  }
}

/** The options' bounds, checked. */
export function adaptiveLimitBounds(options: Omit<AdaptiveLimitOptions, 'windowMs'>): AdaptiveLimitBounds {
  const { minLimit = 1, maxLimit = 1_000 } = options;
  checkCount('minLimit', minLimit, 1);
  checkCount('maxLimit', maxLimit, minLimit);
  const { initialLimit = Math.min(maxLimit, Math.max(minLimit, 20)) } = options;
  checkCount('initialLimit', initialLimit, minLimit);
  if (initialLimit > maxLimit) refuse('initialLimit', `at most maxLimit (${maxLimit})`, initialLimit);
  return { initialLimit, minLimit, maxLimit };
}

const enough = 10;
