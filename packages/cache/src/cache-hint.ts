import type { CacheEntry } from './entry.ts';
import { oneOf } from './option-checks.ts';

/** The freshness fields that MCP 2026-07-28 wants on lists and on `resources/read`. A type, since the SDK's results have an index signature. */
export type CacheHint = {
  /** Whole milliseconds for which the receiver may keep the result. */
  ttlMs: number;
  /** Who may share it; `'private'` is the receiver alone. */
  cacheScope: 'public' | 'private';
};

/**
 * What to tell a client of a kept result's freshness: what remains of it, not what it had at first, or each cache on the way would add
 * its own. A stale one has none. `entry` is what `getOrSetEntry` or `lookup` gave.
 *
 * @param cacheScope Default `'private'`: to be shared by users it must be said to be `'public'`.
 */
export function cacheHint(
  entry: Pick<CacheEntry, 'ttlMs' | 'stale'>,
  cacheScope: 'public' | 'private' = 'private',
): CacheHint {
  oneOf('cacheScope', ['public', 'private'], cacheScope);
  const ttlMs = entry.stale ? 0 : Math.min(Math.floor(entry.ttlMs), Number.MAX_SAFE_INTEGER);
  return { ttlMs, cacheScope };
}

/** A kept result (a list, the contents of a resource) with its `cacheHint`; the kept one is not touched. */
export function withCacheHint<Result extends object>(
  entry: CacheEntry<Result>,
  cacheScope: 'public' | 'private' = 'private',
): Result & CacheHint {
  return { ...entry.value, ...cacheHint(entry, cacheScope) };
}
