import { createHash } from 'node:crypto';
import { ArrivalTimes } from './arrival-times.ts';
import { type Clock, systemClock } from './clock.ts';
import { checkClock, checkCount, checkPositive, checkSignal, checkString, refuse } from './option-checks.ts';

export interface RateLimiterOptions {
  /** How much may be done in each interval. A finite number above 0. */
  limit: number;
  /** The interval, in milliseconds. */
  intervalMs: number;
  /** How much may be done at once after a pause. A finite number above 0, default `limit`. */
  burst?: number | undefined;
  /** How many keys are remembered. Default 10,000. Beyond it, one that has recovered or is nearest to it is forgotten, which gives it a full burst again. */
  maxKeys?: number | undefined;
  clock?: Clock | undefined;
}

export interface RateLimitResult {
  allowed: boolean;
  /** What could be done at once after this. */
  remaining: number;
  /** When what was refused would be allowed, in milliseconds; 0 if it was allowed. */
  retryAfterMs: number;
}

export interface ConsumeOptions {
  /** What the call weighs: above 0, at most `burst`. Default 1. */
  cost?: number | undefined;
  /** Rejects with its reason, at once. What was counted by then stays counted. */
  signal?: AbortSignal | undefined;
}

export interface RateLimiterStats {
  keys: number;
  allowed: number;
  denied: number;
}

/**
 * At most `limit` in each interval for each key, evenly, with a burst after a pause.
 *
 * The generic cell rate algorithm (ITU-T I.371, annex A): with T = intervalMs / limit, a key has a theoretical arrival time
 * TAT; a call of cost c at time t is allowed if max(TAT, t) + c·T ≤ t + burst·T, and then that is the new TAT. It is a token
 * bucket that stores one number and needs no refill; what is refused costs nothing.
 */
export class RateLimiter {
  readonly #msPerUnit: number;
  readonly #burst: number;
  readonly #burstMs: number;
  /** Sums of fractions must not refuse the last of a burst: a hundred-millionth of a unit, and what a clock of months rounds away. */
  readonly #roundingMs: number;
  readonly #clock: Clock;
  readonly #arrivals: ArrivalTimes;
  #allowed = 0;
  #denied = 0;

  constructor(options: RateLimiterOptions) {
    const { limit, intervalMs, burst = limit, maxKeys = 10_000, clock = systemClock } = options;
    checkPositive('limit', limit);
    checkPositive('intervalMs', intervalMs);
    checkPositive('burst', burst);
    checkCount('maxKeys', maxKeys, 1);
    checkClock(clock);
    this.#msPerUnit = intervalMs / limit;
    this.#burst = burst;
    this.#burstMs = burst * this.#msPerUnit;
    checkPositive('burst * intervalMs / limit', this.#burstMs);
    this.#roundingMs = Math.max(this.#msPerUnit * 1e-8, 1e-5);
    this.#clock = clock;
    this.#arrivals = new ArrivalTimes(maxKeys);
  }

  /** As `tryConsume`, in the shape of a limiter that has to ask another process. */
  async consume(key: string, options?: ConsumeOptions): Promise<RateLimitResult> {
    checkSignal(options?.signal);
    options?.signal?.throwIfAborted();
    return this.tryConsume(key, options);
  }

  /** Counts a call of `key`, if it is allowed. Throws if it costs more than the burst: it never would be. */
  tryConsume(key: string, options?: ConsumeOptions): RateLimitResult {
    checkString('key', key);
    const cost = checkCost(options, this.#burst);
    const kept = key.length > longestKept ? digestOf(key) : key;
    const now = this.#clock.now();
    const current = this.#arrivals.get(kept, now, this.#burstMs);
    const next = current + cost * this.#msPerUnit;
    const missingMs = next - this.#burstMs - now - this.#roundingMs;
    if (missingMs > 0) {
      this.#denied++;
      return { allowed: false, remaining: this.#left(current - now), retryAfterMs: Math.ceil(missingMs) };
    }
    this.#arrivals.set(kept, next, now);
    this.#allowed++;
    return { allowed: true, remaining: this.#left(next - now), retryAfterMs: 0 };
  }

  stats(): RateLimiterStats {
    return { keys: this.#arrivals.size, allowed: this.#allowed, denied: this.#denied };
  }

  #left(usedMs: number): number {
    return Math.max(0, Math.floor((this.#burstMs - usedMs + this.#roundingMs) / this.#msPerUnit));
  }
}

/** The cost of a call. Throws if it is none, or could never be allowed. */
export function checkCost(options: ConsumeOptions | undefined, burst: number): number {
  const cost = options?.cost === undefined ? 1 : options.cost;
  if (!(typeof cost === 'number' && cost > 0 && cost <= burst)) {
    refuse('cost', `a number > 0 and <= burst (${burst})`, cost);
  }
  return cost;
}

/** A longer key, which a hostile caller may send by the thousand, is kept as its digest. */
const longestKept = 256;

/** Over UTF-16 units: lone surrogates would all become one character in UTF-8. */
function digestOf(key: string): string {
  return `sha256:${createHash('sha256').update(key, 'utf16le').digest('base64url')}`;
}
