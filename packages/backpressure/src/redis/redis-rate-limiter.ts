import { type Clock, systemClock } from '../clock.ts';
import {
  checkClock,
  checkCount,
  checkMethods,
  checkOneOf,
  checkPositive,
  checkRatio,
  checkString,
  refuse,
} from '../option-checks.ts';
import { type ConsumeOptions, RateLimiter, type RateLimiterStats, type RateLimitResult } from '../rate-limiter.ts';
import { askGcra } from './gcra-script.ts';
import { keyName } from './key-name.ts';
import { RedisAvailability } from './redis-availability.ts';
import type { RedisClient } from './redis-client.ts';

export interface RedisRateLimiterOptions {
  /** A connected ioredis `Redis` or `Cluster`, 5 or 6. It stays yours: it is never closed here. */
  client: RedisClient;
  /** How much may be done in each interval, by all processes together. A finite number above 0. */
  limit: number;
  /** The interval, in milliseconds. */
  intervalMs: number;
  /** How much may be done at once after a pause. A finite number above 0, default `limit`. */
  burst?: number | undefined;
  /** Before each key in Redis. Default `'rate:'`. Limiters with other limits need other prefixes. */
  prefix?: string | undefined;
  /**
   * What holds while Redis is away: `'local'` this process limits by itself, to `localShare` of the rate; `'allow'` everything
   * passes; `'deny'` nothing does. Default `'local'`.
   */
  onUnavailable?: 'local' | 'allow' | 'deny' | undefined;
  /** This process's share of the rate while Redis is away, above 0 and at most 1: one by the number of processes. Default 1. */
  localShare?: number | undefined;
  /** How long Redis may take to answer before it counts as away. Milliseconds, default 250. */
  commandTimeoutMs?: number | undefined;
  /** How long Redis is left alone once it is away; then a probe asks whether it is back. Milliseconds, default 1,000. */
  retryAfterMs?: number | undefined;
  /** How many keys this process remembers for the time that Redis is away. Default 10,000. */
  maxKeys?: number | undefined;
  clock?: Clock | undefined;
}

export interface RedisRateLimiterStats extends RateLimiterStats {
  /** Whether Redis is asked now. */
  available: boolean;
  /** Calls decided without Redis, since it was away. */
  decidedAlone: number;
}

/**
 * A rate limit that many processes share: the same algorithm as `RateLimiter`, as one script on one key in Redis, by the clock of
 * Redis, so that the processes' clocks do not matter. One round trip a call; a Redis that is away costs the calls
 * under way at most `commandTimeoutMs`, and the later ones nothing.
 */
export class RedisRateLimiter implements AsyncDisposable {
  readonly #client: RedisClient;
  readonly #prefix: string;
  readonly #burst: number;
  readonly #rate: { msPerUnit: number; burstMs: number };
  readonly #onUnavailable: 'local' | 'allow' | 'deny';
  readonly #retryAfterMs: number;
  readonly #local: RateLimiter;
  readonly #localBurst: number;
  readonly #redis: RedisAvailability;
  #allowed = 0;
  #denied = 0;
  #decidedAlone = 0;

  constructor(options: RedisRateLimiterOptions) {
    const { client, limit, intervalMs, burst = limit, prefix = 'rate:', onUnavailable = 'local' } = options;
    const { localShare = 1, commandTimeoutMs = 250, retryAfterMs = 1_000, maxKeys, clock = systemClock } = options;
    checkMethods('client', client, ['call']);
    checkPositive('limit', limit);
    checkPositive('intervalMs', intervalMs);
    checkPositive('burst', burst);
    checkString('prefix', prefix);
    checkOneOf('onUnavailable', onUnavailable, ['local', 'allow', 'deny']);
    checkRatio('localShare', localShare);
    if (localShare === 0) refuse('localShare', 'above 0', localShare);
    checkPositive('commandTimeoutMs', commandTimeoutMs);
    checkPositive('retryAfterMs', retryAfterMs);
    if (maxKeys !== undefined) checkCount('maxKeys', maxKeys, 1);
    checkClock(clock);
    this.#client = client;
    this.#prefix = prefix;
    this.#burst = burst;
    const msPerUnit = intervalMs / limit;
    this.#rate = { msPerUnit, burstMs: burst * msPerUnit };
    this.#onUnavailable = onUnavailable;
    this.#retryAfterMs = retryAfterMs;
    // A share of a small burst may be below one call, and would then let nothing pass.
    this.#localBurst = Math.min(burst, Math.max(1, burst * localShare));
    this.#local = new RateLimiter({ limit: limit * localShare, intervalMs, burst: this.#localBurst, maxKeys, clock });
    this.#redis = new RedisAvailability({ commandTimeoutMs, retryAfterMs, clock, probe: () => client.call('PING') });
  }

  /**
   * Counts a call of `key`, if it is allowed. Rejects only if it costs more than the burst, which never would be allowed; a Redis
   * that is away is answered for by `onUnavailable`.
   */
  async consume(key: string, options?: ConsumeOptions): Promise<RateLimitResult> {
    const cost = options?.cost === undefined ? 1 : options.cost;
    if (!(typeof cost === 'number' && cost > 0 && cost <= this.#burst)) {
      refuse('cost', `a number > 0 and <= burst (${this.#burst})`, cost);
    }
    const result = (await this.#ask(key, cost)) ?? this.#decideAlone(key, cost);
    if (result.allowed) this.#allowed++;
    else this.#denied++;
    return result;
  }

  stats(): RedisRateLimiterStats {
    return {
      keys: this.#local.stats().keys,
      allowed: this.#allowed,
      denied: this.#denied,
      available: this.#redis.available,
      decidedAlone: this.#decidedAlone,
    };
  }

  /** Stops looking whether Redis is back. The client stays open. */
  close(): Promise<void> {
    this.#redis.stop();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What Redis says; undefined if it is away. */
  async #ask(key: string, cost: number): Promise<RateLimitResult | undefined> {
    if (!this.#redis.available) return undefined;
    // The client would keep the command until it is connected again, and count a call that was decided long ago.
    if (disconnected.has(this.#client.status)) {
      this.#redis.markAway();
      return undefined;
    }
    try {
      return await this.#redis.guard(() => askGcra(this.#client, keyName(this.#prefix, key), this.#rate, cost));
    } catch {
      return undefined;
    }
  }

  #decideAlone(key: string, cost: number): RateLimitResult {
    this.#decidedAlone++;
    if (this.#onUnavailable === 'allow') return { allowed: true, remaining: 0, retryAfterMs: 0 };
    if (this.#onUnavailable === 'deny') return { allowed: false, remaining: 0, retryAfterMs: this.#retryAfterMs };
    return this.#local.tryConsume(key, { cost: Math.min(cost, this.#localBurst) });
  }
}

const disconnected: ReadonlySet<string> = new Set(['reconnecting', 'close', 'end']);
