import type { CacheSettings } from './cache-options.ts';
import type { Clock } from './clock.ts';
import { type Fence, Fences } from './fences.ts';
import { type KeptValue, keep } from './kept-value.ts';
import { Listeners } from './listeners.ts';
import { Lru } from './lru.ts';
import { type EntryTimes, MemoryTier } from './memory-tier.ts';
import type { RemoteEntry, RemoteTier, RemoteWrite } from './remote-tier.ts';
import { S3Fifo } from './s3-fifo.ts';

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

export interface CacheEvents {
  /** A load ended with a value. */
  load: { key: string; durationMs: number };
  /** A load failed (an abort is no failure). */
  loadFailure: { key: string; error: unknown };
  /** An entry left memory on its own. */
  eviction: { key: string; reason: 'capacity' | 'expired' };
  /** The remote tier failed; the cache serves on from memory. */
  remoteFailure: { error: unknown };
}

/** The windows after freshness. */
export interface StaleWindows {
  staleWhileRevalidateMs: number;
  staleIfErrorMs: number;
}

/** How an entry is kept. */
export interface StoreRules extends StaleWindows {
  ttlMs: number;
  tags: readonly string[];
}

/** What the remote tier had. */
export interface Admitted {
  entry: CacheEntry;
  version: string;
  /** How long its load took, if that is known. Milliseconds. */
  loadMs: number | undefined;
}

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

const SWEEP_MS = 30_000;

/** Both tiers as one place: what goes in, what comes out, what is thrown out. Loading is not its business. */
export class Tiers {
  readonly memory: MemoryTier;
  readonly remote: RemoteTier | undefined;
  readonly clock: Clock;
  readonly settings: CacheSettings;
  readonly fences: Fences = new Fences();
  readonly listeners: Listeners<CacheEvents> = new Listeners();
  readonly counts: CacheCounts = {
    hitsMemory: 0,
    hitsRemote: 0,
    misses: 0,
    staleServed: 0,
    loads: 0,
    loadFailures: 0,
    sharedWaits: 0,
    evictions: 0,
    expirations: 0,
    invalidations: 0,
    remoteFailures: 0,
  };
  #sweep: unknown;

  constructor(settings: CacheSettings) {
    this.settings = settings;
    this.remote = settings.remote;
    this.clock = settings.clock;
    this.memory = new MemoryTier({
      maxEntries: settings.maxEntries,
      maxBytes: settings.maxBytes,
      maxItemBytes: settings.maxItemBytes,
      policy: settings.policy === 'lru' ? new Lru() : new S3Fifo(settings.maxEntries),
      onGone: (key, reason) => {
        if (reason === 'capacity') this.counts.evictions++;
        else this.counts.expirations++;
        this.listeners.emit('eviction', { key, reason });
      },
    });
  }

  /** What memory has, stale or not. */
  inMemory(key: string): (CacheEntry & { revalidate: boolean; onError: boolean; tags: readonly string[] }) | undefined {
    const now = this.clock.now();
    const entry = this.memory.entry(key, now);
    if (entry === undefined) return undefined;
    const staleMs = now - entry.freshUntil;
    return {
      value: entry.value,
      tier: 'memory',
      ageMs: now - entry.storedAt,
      ttlMs: Math.max(0, -staleMs),
      stale: staleMs >= 0,
      revalidate: staleMs < entry.revalidateMs,
      onError: staleMs < entry.errorMs,
      tags: entry.tags,
    };
  }

  /** What the remote tier has; it is kept in memory too unless the fence was broken meanwhile. */
  async fromRemote(key: string, fence: Fence, windows: StaleWindows): Promise<Admitted | undefined> {
    const found = await this.remotely((remote) => remote.get(key), undefined);
    return found === undefined ? undefined : this.admit(key, found, fence, windows);
  }

  /** Takes a remote entry into memory. */
  admit(key: string, found: RemoteEntry, fence: Fence, windows: StaleWindows): Admitted {
    const wallNow = this.wallNow();
    // Another machine's clock may be ahead of ours: an entry is never fresh for longer than it was made to be.
    const ttlMs = Math.min(found.freshUntil - wallNow, found.freshUntil - found.storedAt);
    const ageMs = Math.max(0, wallNow - found.storedAt);
    const kept = keep(found.value, this.settings.copy);
    const overtaken = fence.broken || found.tags.some((tag) => fence.deadTags.has(tag));
    if (kept !== undefined && !overtaken) {
      const now = this.clock.now();
      this.#put(key, kept, found.tags, {
        storedAt: now - ageMs,
        freshUntil: now + ttlMs,
        revalidateMs: windows.staleWhileRevalidateMs,
        errorMs: windows.staleIfErrorMs,
      });
    }
    const value = kept?.cloned ? structuredClone(kept.value) : found.value;
    return {
      entry: { value, tier: 'remote', ageMs, ttlMs: Math.max(0, ttlMs), stale: ttlMs <= 0 },
      version: found.version,
      loadMs: found.loadMs,
    };
  }

  /** Puts a value into memory. */
  toMemory(key: string, kept: KeptValue, rules: StoreRules): void {
    const now = this.clock.now();
    this.#put(key, kept, rules.tags, {
      storedAt: now,
      freshUntil: now + rules.ttlMs,
      revalidateMs: rules.staleWhileRevalidateMs,
      errorMs: rules.staleIfErrorMs,
    });
  }

  /** The same as the remote tier is told it. */
  remoteWrite(value: unknown, rules: StoreRules, loadMs?: number): RemoteWrite {
    const storedAt = this.wallNow();
    return {
      value,
      storedAt,
      freshUntil: storedAt + rules.ttlMs,
      keepMs: rules.ttlMs + Math.max(rules.staleWhileRevalidateMs, rules.staleIfErrorMs),
      tags: rules.tags,
      loadMs,
    };
  }

  wallNow(): number {
    return this.clock.wallNow?.() ?? Date.now();
  }

  /** A time to live with its jitter. */
  jittered(ttlMs: number): number {
    const { jitter, random } = this.settings;
    return jitter === 0 || ttlMs === Number.POSITIVE_INFINITY ? ttlMs : ttlMs * (1 - jitter * random());
  }

  /** Asks the remote tier; a failure there is reported, and answered with `otherwise`. */
  async remotely<T>(ask: (remote: RemoteTier) => Promise<T>, otherwise: T): Promise<T> {
    if (this.remote === undefined) return otherwise;
    try {
      return await ask(this.remote);
    } catch (error) {
      this.counts.remoteFailures++;
      this.listeners.emit('remoteFailure', { error });
      return otherwise;
    }
  }

  /** Frees entries that are over and returns how many that were. */
  prune(): number {
    return this.memory.prune(this.clock.now());
  }

  stop(): void {
    this.memory.clear();
    if (this.#sweep !== undefined) this.clock.clearTimeout(this.#sweep);
    this.#sweep = undefined;
  }

  #put(key: string, kept: KeptValue, tags: readonly string[], times: EntryTimes): void {
    this.memory.put(key, kept, times, tags);
    if (this.#sweep === undefined && this.memory.size > 0) this.#scheduleSweep();
  }

  /** Entries that nobody reads again are freed by a sweep that runs only while there are entries. */
  #scheduleSweep(): void {
    this.#sweep = this.clock.setTimeout(() => {
      this.#sweep = undefined;
      this.prune();
      if (this.memory.size > 0) this.#scheduleSweep();
    }, SWEEP_MS);
    (this.#sweep as { unref?: () => void }).unref?.();
  }
}
