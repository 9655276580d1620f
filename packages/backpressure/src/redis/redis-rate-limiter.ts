import { ArrivalTimes } from '../arrival-times.ts';
import { type Clock, systemClock } from '../clock.ts';
import {
  checkClock,
  checkCount,
  checkFunction,
  checkMethods,
  checkOneOf,
  checkPositive,
  checkRatio,
  checkSignal,
  checkString,
  refuse,
} from '../option-checks.ts';
import { type ConsumeOptions, checkCost, type RateLimiterStats, type RateLimitResult } from '../rate-limiter.ts';
import { whenAborted } from '../when-aborted.ts';
import { type Answer, askGcra } from './gcra-script.ts';
import { KeyNames } from './key-name.ts';
import { away, RedisAvailability } from './redis-availability.ts';
import type { RedisClient } from './redis-client.ts';

export interface RedisRateLimiterOptions {
  /** An ioredis `Redis` or `Cluster`, 5 or 6. It stays yours: it is neither configured, listened to, nor closed here. */
  client: RedisClient;
  /** How much may be done in each interval, by all processes together. A finite number above 0. */
  limit: number;
  /** The interval, in milliseconds. */
  intervalMs: number;
  /** How much may be done at once after a pause. A finite number above 0, default `limit`. */
  burst?: number | undefined;
  /** Before each key in Redis. Default `'rate:'`. Limiters of one prefix share what they count: another rate needs another prefix. */
  prefix?: string | undefined;
  /**
   * Keys the HMAC that hides callers in the names of keys, the same in all processes, at least 16 characters. Default: a public one, which
   * keeps identities out of sight, but not from one who reads Redis and guesses them.
   */
  secret?: string | undefined;
  /**
   * What holds while Redis is away: `'local'` this process limits by itself, to `localShare` of the rate; `'allow'` everything
   * passes; `'deny'` nothing does. Default `'local'`.
   */
  onUnavailable?: 'local' | 'allow' | 'deny' | undefined;
  /** This limiter's share of the rate while Redis is away, above 0 and at most 1: one by the number of processes that have one. Default 0.1. */
  localShare?: number | undefined;
  /** How long Redis may take to answer before it counts as away. Milliseconds, default 250. */
  commandTimeoutMs?: number | undefined;
  /** How long Redis is left alone once it is away; then a probe finds out whether it is back. Milliseconds, default 1,000. */
  retryAfterMs?: number | undefined;
  /** How many keys this process remembers. Default 10,000. */
  maxKeys?: number | undefined;
  /** Told why Redis counts as away, once each time. Default: nobody is told. */
  onError?: ((error: unknown) => void) | undefined;
  clock?: Clock | undefined;
}

export interface SharedRateLimitResult extends RateLimitResult {
  /**
   * Who said so: `'redis'`; `'memory'`: what Redis said before is enough to refuse; else Redis is away, and `onUnavailable` decided.
   */
  decidedBy: 'redis' | 'memory' | 'local' | 'allow' | 'deny';
}

export interface RedisRateLimiterStats extends RateLimiterStats {
  /** Whether Redis is asked now. */
  available: boolean;
  /** Calls decided without Redis, since it was away. */
  decidedAlone: number;
  /** Calls refused without asking Redis, by what it had said before. */
  deniedFromMemory: number;
}

/**
 * A rate limit that many processes share: the algorithm of `RateLimiter`, as one script on one key in Redis, by the clock of
 * Redis, so that the processes' clocks do not matter. One round trip for a call, none for one that Redis would surely
 * refuse; a Redis that is away costs the calls under way at most `commandTimeoutMs`, and the later ones nothing.
 *
 * Each process remembers how much its callers have surely used, and tells Redis with the next call: a Redis that lost its data
 * (restarted, flushed) gives those who are known no second burst.
 */
export class RedisRateLimiter implements AsyncDisposable {
  readonly #client: RedisClient;
  readonly #names: KeyNames;
  readonly #burst: number;
  readonly #msPerUnit: number;
  readonly #onUnavailable: 'local' | 'allow' | 'deny';
  readonly #localShare: number;
  readonly #clock: Clock;
  readonly #redis: RedisAvailability;
  /** By this process's clock: not later than the arrival times in Redis. */
  readonly #known: ArrivalTimes;
  #wasReady = false;
  #allowed = 0;
  #denied = 0;
  #decidedAlone = 0;
  #deniedFromMemory = 0;

  constructor(options: RedisRateLimiterOptions) {
    const { client, limit, intervalMs, burst = limit, prefix = 'rate:', secret = publicSecret } = options;
    const { onUnavailable = 'local', localShare = 0.1, commandTimeoutMs = 250, retryAfterMs = 1_000 } = options;
    const { maxKeys = 10_000, onError = () => {}, clock = systemClock } = options;
    checkMethods('client', client, ['call']);
    checkPositive('limit', limit);
    checkPositive('intervalMs', intervalMs);
    checkPositive('burst', burst);
    checkString('prefix', prefix);
    // Never what was given, which may be the secret's bytes.
    if (typeof secret !== 'string') refuse('secret', 'a string', '…');
    if (secret.length < 16) refuse('secret', 'at least 16 characters', '…');
    checkOneOf('onUnavailable', onUnavailable, ['local', 'allow', 'deny']);
    checkRatio('localShare', localShare);
    if (localShare === 0) refuse('localShare', 'above 0', localShare);
    checkPositive('commandTimeoutMs', commandTimeoutMs);
    checkPositive('retryAfterMs', retryAfterMs);
    checkCount('maxKeys', maxKeys, 1);
    checkFunction('onError', onError);
    checkClock(clock);
    this.#client = client;
    this.#names = new KeyNames(prefix, secret, maxKeys);
    this.#burst = burst;
    this.#msPerUnit = intervalMs / limit;
    checkPositive('burst * intervalMs / limit', burst * this.#msPerUnit);
    this.#onUnavailable = onUnavailable;
    this.#localShare = localShare;
    this.#clock = clock;
    this.#known = new ArrivalTimes(maxKeys);
    this.#redis = new RedisAvailability({ commandTimeoutMs, retryAfterMs, clock, onAway: onError });
  }

  /**
   * Counts a call of `key`, if it is allowed. A Redis that is away is answered for by `onUnavailable`, so this rejects only with the
   * signal's reason, and if the call costs more than the burst, which never would be allowed.
   */
  async consume(key: string, options?: ConsumeOptions): Promise<SharedRateLimitResult> {
    checkString('key', key);
    const cost = checkCost(options, this.#burst);
    const signal = options?.signal;
    checkSignal(signal);
    signal?.throwIfAborted();
    const deciding = this.#decide(this.#names.nameOf(key), cost);
    const result = await (signal === undefined ? deciding : orAbort(deciding, signal));
    if (result.allowed) this.#allowed++;
    else this.#denied++;
    return result;
  }

  stats(): RedisRateLimiterStats {
    return {
      keys: this.#known.size,
      allowed: this.#allowed,
      denied: this.#denied,
      available: this.#redis.available,
      decidedAlone: this.#decidedAlone,
      deniedFromMemory: this.#deniedFromMemory,
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

  async #decide(name: string, cost: number): Promise<SharedRateLimitResult> {
    if (!this.#redis.available) return this.#decideAlone(name, cost);
    const sentAt = this.#clock.now();
    const knownUsed = this.#knownUsed(name, sentAt, this.#burst);
    if (knownUsed + cost > this.#burst + roundingUnits) {
      this.#deniedFromMemory++;
      return { ...this.#result(false, knownUsed, cost), decidedBy: 'memory' };
    }
    const answer = await this.#ask(name, cost, knownUsed);
    if (answer === undefined) return this.#decideAlone(name, cost);
    this.#know(name, answer.used, sentAt);
    return { ...this.#result(answer.allowed, answer.used, cost), decidedBy: 'redis' };
  }

  /** What Redis says; undefined if it is away. */
  #ask(name: string, cost: number, knownUsed: number): Promise<Answer | undefined> {
    const question = { name, cost, knownUsed, burst: this.#burst, msPerUnit: this.#msPerUnit };
    // As the calls do, with a cost of nothing: a node that is read-only, full or loading would still answer a PING. What was known to
    // be used may have come back since.
    const probe = () =>
      this.#isConnected() ? askGcra(this.#client, { ...question, cost: 0, knownUsed: 0 }) : Promise.reject();
    // The client would keep the command until it is connected again, and count a call that was decided long ago.
    if (!this.#isConnected()) {
      this.#redis.markAway(away(`Redis is not connected (${this.#client.status})`), probe);
      return Promise.resolve(undefined);
    }
    return this.#redis.guard(() => askGcra(this.#client, question), probe);
  }

  /** A client that was never connected yet may be about to be. */
  #isConnected(): boolean {
    const { status } = this.#client;
    if (status === 'ready') this.#wasReady = true;
    return !disconnected.has(status) && !(this.#wasReady && connecting.has(status));
  }

  #decideAlone(name: string, cost: number): SharedRateLimitResult {
    this.#decidedAlone++;
    const decidedBy = this.#onUnavailable;
    if (decidedBy === 'allow') return { allowed: true, remaining: 0, retryAfterMs: 0, decidedBy };
    if (decidedBy === 'deny') return { allowed: false, remaining: 0, retryAfterMs: this.#redis.awayMs, decidedBy };
    const now = this.#clock.now();
    // As if the other processes did as much: a call counts for all of them, and what is known of before counts too.
    const weight = cost / this.#localShare;
    const used = this.#knownUsed(name, now, this.#burst * (1 + 1 / this.#localShare));
    // What weighs more than the burst may pass once all of it is there, and then takes longer to recover from.
    const needed = Math.min(weight, this.#burst);
    if (used + needed > this.#burst + roundingUnits) return { ...this.#result(false, used, needed), decidedBy };
    this.#know(name, used + weight, now);
    const remaining = Math.max(0, Math.floor((this.#burst - used - weight) * this.#localShare + roundingUnits));
    return { allowed: true, remaining, retryAfterMs: 0, decidedBy };
  }

  #knownUsed(name: string, now: number, most: number): number {
    const recoveredIn = this.#known.get(name, now, most * this.#msPerUnit) - now;
    return Math.max(0, recoveredIn - clockRoundingMs) / this.#msPerUnit;
  }

  /** Answers may overtake each other: what is known only grows, and shrinks with time. */
  #know(name: string, used: number, at: number): void {
    const now = this.#clock.now();
    const arrival = at + used * this.#msPerUnit;
    if (arrival > this.#known.get(name, now, Number.POSITIVE_INFINITY)) this.#known.set(name, arrival, now);
  }

  #result(allowed: boolean, used: number, cost: number): RateLimitResult {
    const remaining = Math.max(0, Math.floor(this.#burst - used + roundingUnits));
    const missing = used + cost - this.#burst - roundingUnits;
    return { allowed, remaining, retryAfterMs: allowed ? 0 : Math.max(1, Math.ceil(missing * this.#msPerUnit)) };
  }
}

const disconnected: ReadonlySet<string> = new Set(['reconnecting', 'close', 'end']);
const connecting: ReadonlySet<string> = new Set(['connecting', 'connect']);
const publicSecret = '@x/backpressure/redis';
/** Sums of fractions must not refuse the last of a burst. The script has the same. */
const roundingUnits = 1e-8;
/** What a sum of a process's clock and a time loses in months of uptime: what is known must not be more than is true. */
const clockRoundingMs = 1e-5;

function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stopListening = whenAborted(signal, () => reject(signal.reason));
    promise.then(resolve, reject).finally(stopListening);
  });
}
