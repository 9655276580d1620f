import { type Clock, systemClock } from './clock.ts';
import type { CopyMode } from './kept-value.ts';
import { betaOf } from './load-rules.ts';
import {
  bag,
  beta,
  callable,
  count,
  duration,
  having,
  oneOf,
  optional,
  positiveDuration,
  ratio,
  share,
  text,
  timer,
  yesOrNo,
} from './option-checks.ts';
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
  /**
   * Each read of a fresh entry lets it live for another `ttlMs`. Over a remote tier, which is told at most every tenth of `ttlMs`, an
   * entry lives on in memory only as long as it still stands there. Such entries are not refreshed early. Default false.
   */
  sliding?: boolean | undefined;
  /**
   * XFetch (Vattani et al., VLDB 2015): a reader may refresh a fresh entry in the background, the likelier the nearer its end and the
   * longer its load took (see `earlyDrawMs`), so that hot entries never expire under load. The number is β, how eagerly: `true` is 1,
   * 0 or false is off. Only loaded entries; with a remote tier one process refreshes. Default off.
   */
  earlyRefresh?: boolean | number | undefined;
  /** Each time to live is shortened by a random part of it, up to this ratio, so that entries stored together do not expire together. 0..1, default 0; 0.1 is sensible. */
  jitter?: number | undefined;
  /** Entries in memory. Default 10,000. */
  maxEntries?: number | undefined;
  /** Estimated bytes in memory, keys included. Default: no bound but `maxEntries`. */
  maxBytes?: number | undefined;
  /** A larger value is not kept in memory, only in the remote tier. Estimated bytes, default `maxBytes`. */
  maxItemBytes?: number | undefined;
  /**
   * The part of `maxEntries` and `maxBytes` beyond which a scope's entries are the first to leave when memory is full, so that one tenant
   * cannot push all others out. Scopes that begin with the same part are one: `scope(tenant, subject)` counts for the tenant. Above 0 to 1,
   * default 1: no shares.
   */
  maxScopeShare?: number | undefined;
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
  /**
   * When a load has run for so long, its callers get the stale value if one is kept within `staleIfErrorMs`, and the load ends in the
   * background; without one they wait on. Milliseconds, default: they wait.
   */
  softTimeoutMs?: number | undefined;
  /** Loads that may run at once; for one more, a caller gets what is stale, or `ERR_OVERLOADED`. Bounds what a flood of distinct keys can occupy. Default: no bound. */
  maxLoads?: number | undefined;
  /** The second tier, such as `RedisTier` of `@x/cache/redis`. Default: memory only. */
  remote?: RemoteTier | undefined;
  /** Keys the HMAC that hides identities in the keys of scopes. At least 16 characters; needed for scopes over a remote tier, the same in all processes. */
  scopeSecret?: string | undefined;
  /** Default: the process's own, as it is when the cache is made: one made before a test fakes the time needs a clock. */
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
  sliding: boolean;
  earlyRefresh: number;
  jitter: number;
  maxEntries: number;
  maxBytes: number;
  maxItemBytes: number;
  maxScopeShare: number;
  policy: 's3-fifo' | 'lru';
  copy: CopyMode;
  loadTimeoutMs: number | undefined;
  softTimeoutMs: number | undefined;
  maxLoads: number;
  remote: RemoteTier | undefined;
  scopeSecret: string | undefined;
  clock: Clock;
  random: () => number;
}

const SMALLEST_S3_FIFO = 100;
const SHORTEST_SECRET = 16;

const REMOTE_METHODS = [
  ...['get', 'getMany', 'lease', 'renew', 'release', 'store', 'set', 'delete', 'expire'],
  ...['deleteByTag', 'deleteByPattern', 'clear', 'close'],
];

export function checkOptions(options: CacheOptions): CacheSettings {
  // Defaults by destructuring: they stand for undefined, and for nothing else that is no value.
  const {
    name = 'cache',
    ttlMs = 300_000,
    staleWhileRevalidateMs = 0,
    staleIfErrorMs = 0,
    sliding = false,
    earlyRefresh = false,
    jitter = 0,
    maxEntries = 10_000,
    maxScopeShare = 1,
    copy = 'freeze',
    clock = systemClock(),
    random = Math.random,
    remote,
  } = bag('options', options);
  const { policy = maxEntries < SMALLEST_S3_FIFO ? 'lru' : 's3-fifo' } = options;
  const maxBytes = optional(count, 'maxBytes', options.maxBytes) ?? Number.POSITIVE_INFINITY;
  return {
    name: text('name', name),
    ttlMs: positiveDuration('ttlMs', ttlMs),
    staleWhileRevalidateMs: duration('staleWhileRevalidateMs', staleWhileRevalidateMs),
    staleIfErrorMs: duration('staleIfErrorMs', staleIfErrorMs),
    negativeTtlMs: optional(duration, 'negativeTtlMs', options.negativeTtlMs),
    sliding: yesOrNo('sliding', sliding),
    earlyRefresh: Number(betaOf(beta('earlyRefresh', earlyRefresh))),
    jitter: ratio('jitter', jitter),
    maxEntries: count('maxEntries', maxEntries),
    maxBytes,
    maxItemBytes: optional(count, 'maxItemBytes', options.maxItemBytes) ?? maxBytes,
    maxScopeShare: share('maxScopeShare', maxScopeShare),
    policy: oneOf('policy', ['s3-fifo', 'lru'], policy),
    copy: oneOf('copy', ['freeze', 'clone', 'none'], copy),
    loadTimeoutMs: optional(timer, 'loadTimeoutMs', options.loadTimeoutMs),
    softTimeoutMs: optional(timer, 'softTimeoutMs', options.softTimeoutMs),
    maxLoads: optional(count, 'maxLoads', options.maxLoads) ?? Number.POSITIVE_INFINITY,
    remote: remote === undefined ? undefined : having('remote', REMOTE_METHODS, remote),
    scopeSecret: optional(secret, 'scopeSecret', options.scopeSecret),
    clock: checkClock(clock),
    random: callable('random', random),
  };
}

export function checkClock(clock: Clock): Clock {
  return having('clock', ['now', 'setTimeout', 'clearTimeout'], clock);
}

/** Never shown in the error, of whatever kind it is. */
function secret(option: string, value: unknown): string {
  if (typeof value === 'string' && value.length >= SHORTEST_SECRET) return value;
  const got = typeof value === 'string' ? `${value.length}` : `a value of type ${typeof value}`;
  throw new RangeError(`@x/cache: ${option} must be a string of at least ${SHORTEST_SECRET} characters, got ${got}`);
}
