import type { CacheSettings } from './cache-options.ts';
import { bag, beta, duration, listOfText, optional, ratio, timer, yesOrNo } from './option-checks.ts';

/** How a value is kept. What is absent is as the cache has it. */
export interface SetOptions {
  /** How long the entry is fresh; 0 does not keep it. Milliseconds, default the cache's `ttlMs` (for null its `negativeTtlMs`). */
  ttlMs?: number | undefined;
  /** Names by which `deleteByTag` finds the entry. */
  tags?: readonly string[] | undefined;
  /** Default the cache's. */
  staleWhileRevalidateMs?: number | undefined;
  /** Default the cache's. */
  staleIfErrorMs?: number | undefined;
  /** Default the cache's. */
  sliding?: boolean | undefined;
  /** Default the cache's. */
  jitter?: number | undefined;
}

/** How a value is loaded and kept. A load that callers share obeys the options of the one that began it. */
export interface LoadOptions extends SetOptions {
  /** Default the cache's. */
  negativeTtlMs?: number | undefined;
  /** Default the cache's. */
  earlyRefresh?: boolean | number | undefined;
  /** Default the cache's. */
  softTimeoutMs?: number | undefined;
  /** Default the cache's. */
  loadTimeoutMs?: number | undefined;
}

/** How an entry is kept. */
export interface StoreRules {
  ttlMs: number;
  staleWhileRevalidateMs: number;
  staleIfErrorMs: number;
  tags: readonly string[];
  sliding: boolean;
  /** β of XFetch; 0 is off. */
  earlyRefresh: number;
}

/** What one load is to obey. */
export interface LoadRules extends StoreRules {
  jitter: number;
  negativeTtlMs: number | undefined;
  softTimeoutMs: number | undefined;
  loadTimeoutMs: number | undefined;
  /** Whether to wait for a load of the same key in another process. */
  waitForOthers: boolean;
}

export function defaultRules(settings: CacheSettings): LoadRules {
  return {
    ttlMs: settings.ttlMs,
    negativeTtlMs: settings.negativeTtlMs,
    staleWhileRevalidateMs: settings.staleWhileRevalidateMs,
    staleIfErrorMs: settings.staleIfErrorMs,
    sliding: settings.sliding,
    earlyRefresh: settings.earlyRefresh,
    jitter: settings.jitter,
    softTimeoutMs: settings.softTimeoutMs,
    loadTimeoutMs: settings.loadTimeoutMs,
    tags: [],
    waitForOthers: true,
  };
}

/** The rules of one call. Throws on what is no option's value. */
export function rulesOf(options: LoadOptions | undefined, defaults: LoadRules): LoadRules {
  if (options === undefined) return defaults;
  checkLoadOptions(bag('options', options));
  return {
    ttlMs: options.ttlMs ?? defaults.ttlMs,
    negativeTtlMs: options.negativeTtlMs ?? defaults.negativeTtlMs,
    staleWhileRevalidateMs: options.staleWhileRevalidateMs ?? defaults.staleWhileRevalidateMs,
    staleIfErrorMs: options.staleIfErrorMs ?? defaults.staleIfErrorMs,
    sliding: options.sliding ?? defaults.sliding,
    earlyRefresh: betaOf(options.earlyRefresh) ?? defaults.earlyRefresh,
    jitter: options.jitter ?? defaults.jitter,
    softTimeoutMs: options.softTimeoutMs ?? defaults.softTimeoutMs,
    loadTimeoutMs: options.loadTimeoutMs ?? defaults.loadTimeoutMs,
    tags: options.tags ?? defaults.tags,
    waitForOthers: defaults.waitForOthers,
  };
}

/** `earlyRefresh` as a number: `true` stands for 1. */
export function betaOf(earlyRefresh: boolean | number | undefined): number | undefined {
  return typeof earlyRefresh === 'boolean' ? Number(earlyRefresh) : earlyRefresh;
}

/** Each option may be absent; any other wrong value throws. */
export function checkLoadOptions(options: { [name in keyof LoadOptions]?: unknown }): void {
  optional(duration, 'ttlMs', options.ttlMs);
  optional(duration, 'staleWhileRevalidateMs', options.staleWhileRevalidateMs);
  optional(duration, 'staleIfErrorMs', options.staleIfErrorMs);
  optional(duration, 'negativeTtlMs', options.negativeTtlMs);
  optional(yesOrNo, 'sliding', options.sliding);
  optional(beta, 'earlyRefresh', options.earlyRefresh);
  optional(ratio, 'jitter', options.jitter);
  optional(timer, 'softTimeoutMs', options.softTimeoutMs);
  optional(timer, 'loadTimeoutMs', options.loadTimeoutMs);
  optional(listOfText, 'tags', options.tags);
}
