import type { EntryTimes } from './memory-tier.ts';

/** An entry, with what is known of where it came from. */
export interface CacheEntry<T = unknown> {
  value: T;
  /** Who had it; `'load'` when it was loaded for this call. */
  tier: 'memory' | 'remote' | 'load';
  /** Milliseconds since it was stored. */
  ageMs: number;
  /** Milliseconds of freshness that remain; 0 when stale. */
  ttlMs: number;
  stale: boolean;
}

/** An entry, with what decides how it may be used. */
export interface HeldEntry extends CacheEntry {
  /** Whether it may be served while a refresh runs. */
  revalidate: boolean;
  /** Until when it may be served when its load fails or takes long; monotonic milliseconds. */
  errorUntil: number;
  tags: readonly string[];
  /** How long its load took; 0 if that is not known. Milliseconds. */
  loadMs: number;
  /** For so long a use makes it live on; 0 if it does not. Milliseconds. */
  slideMs: number;
  /** Whether the remote tier should hear of its use, so that it lives on there. */
  slideDue: boolean;
  staleWhileRevalidateMs: number;
  staleIfErrorMs: number;
  /** Names its state in the remote tier, if it was read there; '' otherwise. */
  version: string;
}

/** What most callers want of an entry. */
export function itsValue(entry: CacheEntry): unknown {
  return entry.value;
}

/** An entry as a reader sees it now. */
export function held(
  value: unknown,
  tier: 'memory' | 'remote',
  times: EntryTimes,
  tags: readonly string[],
  now: number,
  version = '',
): HeldEntry {
  const leftMs = times.freshUntil - now;
  return {
    value,
    tier,
    ageMs: now - times.storedAt,
    ttlMs: Math.max(0, leftMs),
    stale: leftMs <= 0,
    revalidate: -leftMs < times.revalidateMs,
    errorUntil: times.freshUntil + times.errorMs,
    tags,
    loadMs: times.loadMs,
    slideMs: times.slideMs,
    slideDue: times.slideMs > 0 && leftMs > 0 && now >= times.plainUntil && times.plainUntil > Number.NEGATIVE_INFINITY,
    staleWhileRevalidateMs: times.revalidateMs,
    staleIfErrorMs: times.errorMs,
    version,
  };
}
