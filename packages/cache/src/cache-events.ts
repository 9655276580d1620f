import type { CoherenceState } from './coherence.ts';

/** What a cache tells its listeners, by event. */
export interface CacheEvents {
  /** A caller got a fresh value that was kept. */
  hit: { key: string; tier: 'memory' | 'remote' };
  /** A caller found nothing fresh (who shares a load that runs, or is served stale, is no miss). */
  miss: { key: string };
  /** A caller got a stale value. */
  stale: { key: string };
  /** `delete`, `expire`, `deleteByTag`, `deleteByPattern` or `clear` was called here; `names` are keys, tags, or the pattern. */
  invalidation: { kind: 'delete' | 'expire' | 'tag' | 'pattern' | 'clear'; names: readonly string[] };
  /** A load ended with a value. */
  load: { key: string; durationMs: number };
  /** A load failed (an abort is no failure). */
  loadFailure: { key: string; error: unknown };
  /** An entry left memory on its own. */
  eviction: { key: string; reason: 'capacity' | 'expired' };
  /** The remote tier failed; the cache serves on from memory. */
  remoteFailure: { error: unknown };
  /** Memory began or ceased to hear of what other processes do; while `'isolated'`, nothing in it is taken for fresh for long. */
  coherence: CoherenceState;
  /**
   * What other processes do is noticed in another way than the one asked for (`'pubsub'`), or not at all (`'none'`); what this one does, not by
   * those (`'unpublished'`); or `deleteByTag` may miss values, since the server evicts (`'evictable'`).
   */
  invalidationDegraded: { to: string; error: unknown };
}

const EVENTS: { [name in keyof CacheEvents]: true } = {
  hit: true,
  miss: true,
  stale: true,
  invalidation: true,
  load: true,
  loadFailure: true,
  eviction: true,
  remoteFailure: true,
  coherence: true,
  invalidationDegraded: true,
};

/** The names of all events. */
export const EVENT_NAMES = Object.keys(EVENTS) as (keyof CacheEvents)[];

/** How often each thing happened. */
export interface CacheCounts {
  hitsMemory: number;
  hitsRemote: number;
  misses: number;
  staleServed: number;
  loads: number;
  loadFailures: number;
  sharedWaits: number;
  evictions: number;
  expirations: number;
  invalidations: number;
  remoteFailures: number;
}
