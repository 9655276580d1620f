import { type Clock, systemClock } from './clock.ts';
import type { CopyMode } from './kept-value.ts';
import { count, duration, oneOf, positiveDuration, ratio } from './option-checks.ts';
import type { RemoteTier } from './remote-tier.ts';

export interface CacheOptions {
  /** Names the cache in errors. Default `'cache'`. */
  name?: string | undefined;
  /** How long an entry is fresh. Milliseconds, default 300,000 (5 minutes); Infinity is allowed. */
  ttlMs?: number | undefined;
  /** For so long after freshness an entry is still served at once while one load refreshes it (RFC 5861). Milliseconds, default 0. */
  staleWhileRevalidateMs?: number | undefined;
  /** For so long after freshness an entry is served when its load fails (RFC 5861). Milliseconds, default 0. */
  staleIfErrorMs?: number | undefined;
  /** Time to live of `null`, the answer "there is none". Milliseconds, default `ttlMs`. */
  negativeTtlMs?: number | undefined;
  /** Each time to live is shortened by a random part of it, up to this ratio, so that entries stored together do not expire together. 0..1, default 0; 0.1 is sensible. */
  jitter?: number | undefined;
  /** Entries in memory. Default 10,000. */
  maxEntries?: number | undefined;
  /** Estimated bytes in memory, keys included. Default: no bound but `maxEntries`. */
  maxBytes?: number | undefined;
  /** A larger value is not kept in memory, only in the remote tier. Estimated bytes, default `maxBytes`. */
  maxItemBytes?: number | undefined;
  /** Who leaves when memory is full. Default `'s3-fifo'`, and `'lru'` below 100 entries, where S3-FIFO's queues are too short. */
  policy?: 's3-fifo' | 'lru' | undefined;
  /**
   * What keeps callers from changing what is kept. `'freeze'` (default): JSON-like values are deep-frozen once and shared,
   * anything else is structured-cloned at each read, or not kept if it cannot be. `'clone'`: everything is structured-cloned.
   * `'none'`: the same object for all, at your own risk.
   */
  copy?: CopyMode | undefined;
  /** A load that takes longer rejects with `ERR_TIMEOUT`, and its signal is aborted. Milliseconds, default: no bound. */
  loadTimeoutMs?: number | undefined;
  /** The second tier, such as `RedisTier` of `@x/cache/redis`. Default: memory only. */
  remote?: RemoteTier | undefined;
  /** Keys the HMAC that hides identities in the keys of scopes. At least 16 characters; needed for scopes over a remote tier, the same in all processes. */
  scopeSecret?: string | undefined;
  /** Default: the process's own. */
  clock?: Clock | undefined;
  /** Source of jitter, 0 <= n < 1. Default `Math.random`. */
  random?: (() => number) | undefined;
}

/** The options, checked, defaults filled in. */
export interface CacheSettings {
  name: string;
  ttlMs: number;
  staleWhileRevalidateMs: number;
  staleIfErrorMs: number;
  negativeTtlMs: number | undefined;
  jitter: number;
  maxEntries: number;
  maxBytes: number;
  maxItemBytes: number;
  policy: 's3-fifo' | 'lru';
  copy: CopyMode;
  loadTimeoutMs: number | undefined;
  remote: RemoteTier | undefined;
  scopeSecret: string | undefined;
  clock: Clock;
  random: () => number;
}

const SMALLEST_S3_FIFO = 100;

export function checkOptions(options: CacheOptions): CacheSettings {
  const maxEntries = count('maxEntries', options.maxEntries ?? 10_000);
  const maxBytes = options.maxBytes === undefined ? Number.POSITIVE_INFINITY : count('maxBytes', options.maxBytes);
  const { scopeSecret } = options;
  if (scopeSecret !== undefined && (typeof scopeSecret !== 'string' || scopeSecret.length < 16)) {
    throw new TypeError('@x/cache: scopeSecret must be a string of at least 16 characters');
  }
  return {
    name: options.name ?? 'cache',
    ttlMs: positiveDuration('ttlMs', options.ttlMs ?? 300_000),
    staleWhileRevalidateMs: duration('staleWhileRevalidateMs', options.staleWhileRevalidateMs ?? 0),
    staleIfErrorMs: duration('staleIfErrorMs', options.staleIfErrorMs ?? 0),
    negativeTtlMs: optional(options.negativeTtlMs, (value) => duration('negativeTtlMs', value)),
    jitter: ratio('jitter', options.jitter ?? 0),
    maxEntries,
    maxBytes,
    maxItemBytes: optional(options.maxItemBytes, (value) => count('maxItemBytes', value)) ?? maxBytes,
    policy: oneOf('policy', ['s3-fifo', 'lru'], options.policy ?? (maxEntries < SMALLEST_S3_FIFO ? 'lru' : 's3-fifo')),
    copy: oneOf('copy', ['freeze', 'clone', 'none'], options.copy ?? 'freeze'),
    loadTimeoutMs: optional(options.loadTimeoutMs, (value) => positiveDuration('loadTimeoutMs', value)),
    remote: options.remote,
    scopeSecret,
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  };
}

function optional<T>(value: T | undefined, check: (value: T) => T): T | undefined {
  return value === undefined ? undefined : check(value);
}
