import { type Clock, systemClock } from './clock.ts';
import { checkClock, checkCount, checkPositive, refuse } from './option-checks.ts';

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
  readonly #maxKeys: number;
  readonly #clock: Clock;
  /** TAT by key, those looked at for eviction last at the end. */
  readonly #arrivals = new Map<string, number>();
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
    this.#maxKeys = maxKeys;
    this.#clock = clock;
  }

  /** As `tryConsume`, in the shape of a limiter that has to ask another process. */
  async consume(key: string, options?: ConsumeOptions): Promise<RateLimitResult> {
    return this.tryConsume(key, options);
  }

  /** Counts a call of `key`, if it is allowed. Throws if it costs more than the burst: it never would be. */
  tryConsume(key: string, options?: ConsumeOptions): RateLimitResult {
    const cost = options?.cost === undefined ? 1 : options.cost;
    if (!(typeof cost === 'number' && cost > 0 && cost <= this.#burst))
      refuse('cost', `a number > 0 and <= burst (${this.#burst})`, cost);
    const now = this.#clock.now();
    const known = this.#arrivals.get(key);
    const current = known === undefined || known < now ? now : known;
    const next = current + cost * this.#msPerUnit;
    const missingMs = next - this.#burstMs - now;
    // Sums of fractions of milliseconds must not refuse the last of a burst.
    if (missingMs > roundingMs) {
      this.#denied++;
      return { allowed: false, remaining: this.#left(current - now), retryAfterMs: Math.ceil(missingMs) };
    }
    if (known === undefined && this.#arrivals.size >= this.#maxKeys) this.#forgetOne(now);
    this.#arrivals.set(key, next);
    this.#allowed++;
    return { allowed: true, remaining: this.#left(next - now), retryAfterMs: 0 };
  }

  stats(): RateLimiterStats {
    return { keys: this.#arrivals.size, allowed: this.#allowed, denied: this.#denied };
  }

  #left(usedMs: number): number {
    return Math.max(0, Math.floor((this.#burstMs - usedMs + roundingMs) / this.#msPerUnit));
  }

  /** Of a few keys, forgets the one nearest to a full burst; the others go to the end, so that each is looked at in turn. */
  #forgetOne(now: number): void {
    let victim: string | undefined;
    let earliest = Number.POSITIVE_INFINITY;
    let looked = 0;
    for (const [key, arrival] of this.#arrivals) {
      if (arrival < earliest) {
        if (victim !== undefined) this.#moveToEnd(victim, earliest);
        victim = key;
        earliest = arrival;
      } else {
        this.#moveToEnd(key, arrival);
      }
      if (earliest <= now || ++looked === evictionSample) break;
    }
    if (victim !== undefined) this.#arrivals.delete(victim);
  }

  #moveToEnd(key: string, arrival: number): void {
    this.#arrivals.delete(key);
    this.#arrivals.set(key, arrival);
  }
}

const evictionSample = 8;
const roundingMs = 1e-6;
