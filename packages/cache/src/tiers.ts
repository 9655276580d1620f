import type { CacheCounts, CacheEvents } from './cache-events.ts';
import type { CacheSettings } from './cache-options.ts';
import type { Clock } from './clock.ts';
import { Coherence } from './coherence.ts';
import { earlyWindowMs } from './early-refresh.ts';
import { type HeldEntry, held } from './entry.ts';
import { type Fence, Fences } from './fences.ts';
import { type KeptValue, keep, keepParsed } from './kept-value.ts';
import { Listeners, type Topic } from './listeners.ts';
import type { StoreRules } from './load-rules.ts';
import { Lru } from './lru.ts';
import { type EntryTimes, MemoryTier } from './memory-tier.ts';
import type { RemoteEntry, RemoteTier, RemoteWrite } from './remote-tier.ts';
import { S3Fifo } from './s3-fifo.ts';
import { scopeHolder } from './scope-names.ts';
import { ScopeShares } from './scope-shares.ts';

const SWEEP_MS = 30_000;
/** The part of a sliding time to live that passes before the remote tier hears of a use. */
export const SLIDE_STEP = 0.1;

/** What a remote entry says of its load is believed up to this part of its life: one that says more would be refreshed at every read. */
const LONGEST_LOAD = 0.25;

/** What was invalidated on its way here may be handed to who asked before, and nothing more. */
const OVERTAKEN = { revalidate: false, errorUntil: Number.NEGATIVE_INFINITY, slideDue: false };

/** Both tiers as one place: what goes in, what comes out, what is thrown out. Loading is not its business. */
export class Tiers {
  readonly memory: MemoryTier;
  readonly remote: RemoteTier | undefined;
  readonly clock: Clock;
  readonly settings: CacheSettings;
  readonly fences: Fences = new Fences();
  readonly coherence: Coherence;
  readonly listeners: Listeners<CacheEvents>;
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
  readonly #hits: Topic<CacheEvents['hit']>;
  readonly #evictions: Topic<CacheEvents['eviction']>;
  #sweep: unknown;

  constructor(settings: CacheSettings) {
    this.settings = settings;
    this.listeners = new Listeners(settings.name);
    this.#hits = this.listeners.topic('hit');
    this.#evictions = this.listeners.topic('eviction');
    this.remote = settings.remote;
    this.clock = settings.clock;
    this.memory = new MemoryTier({
      maxEntries: settings.maxEntries,
      maxBytes: settings.maxBytes,
      maxItemBytes: settings.maxItemBytes,
      shares: sharesOf(settings),
      policy: settings.policy === 'lru' ? new Lru() : new S3Fifo(settings.maxEntries),
      onGone: (key, reason) => {
        if (reason === 'capacity') this.counts.evictions++;
        else this.counts.expirations++;
        if (this.#evictions.wanted) this.#evictions.emit({ key, reason });
      },
    });
    this.coherence = new Coherence({
      memory: this.memory,
      fences: this.fences,
      clock: this.clock,
      onState: (state) => this.listeners.emit('coherence', state),
      onDegraded: (to, error) => this.listeners.emit('invalidationDegraded', { to, error }),
    });
    this.coherence.follow(this.remote);
  }

  /** Counts and tells. */
  hit(key: string, tier: 'memory' | 'remote'): void {
    if (tier === 'memory') this.counts.hitsMemory++;
    else this.counts.hitsRemote++;
    if (this.#hits.wanted) this.#hits.emit({ key, tier });
  }

  missed(key: string): void {
    this.counts.misses++;
    this.listeners.emit('miss', { key });
  }

  servedStale(key: string): void {
    this.counts.staleServed++;
    this.listeners.emit('stale', { key });
  }

  /** What memory has, stale or not. */
  inMemory(key: string, now: number = this.clock.now()): HeldEntry | undefined {
    this.coherence.check(now);
    const entry = this.memory.entry(key, now);
    return entry && held(entry.value, 'memory', entry, entry.tags, now);
  }

  /** The same for a reader, whose use counts. */
  used(key: string, now: number): HeldEntry | undefined {
    this.memory.slide(key, now);
    return this.inMemory(key, now);
  }

  /** What the remote tier has; it is kept in memory too unless the fence was broken meanwhile. */
  fromRemote(key: string, fence: Fence, rules: StoreRules): Promise<HeldEntry | undefined> {
    return this.#askRemote(key, (found) => (found === undefined ? undefined : this.admit(key, found, fence, rules)));
  }

  /** The same for who loads nothing, behind a fence of its own; answered with what `then` makes of it. */
  readRemote<T>(key: string, rules: StoreRules, then: (found: HeldEntry | undefined) => T): Promise<T> {
    const fence = this.fences.raise(key, []);
    return this.#askRemote(key, (found) => {
      this.fences.lower(fence);
      return then(found === undefined ? undefined : this.admit(key, found, fence, rules));
    });
  }

  #askRemote<T>(key: string, then: (found: RemoteEntry | undefined) => T): Promise<T> {
    const failed = (error: unknown) => then(this.#remoteFailed(error));
    try {
      return (this.remote as RemoteTier).get(key).then(then, failed);
    } catch (error) {
      return Promise.reject(error).catch(failed);
    }
  }

  /** Takes a remote entry into memory. */
  admit(key: string, found: RemoteEntry, fence: Fence, rules: StoreRules): HeldEntry {
    const now = this.clock.now();
    const wallNow = this.wallNow();
    const lifeMs = found.freshUntil - found.storedAt;
    // Another machine's clock may be ahead of ours: an entry is never fresh for longer than it was made to be.
    const ttlMs = Math.min(found.freshUntil - wallNow, lifeMs);
    // What was renewed lives longer than its time to live.
    const slideMs = rules.sliding ? Math.min(rules.ttlMs, lifeMs) : 0;
    const storedAt = now - Math.max(0, wallNow - found.storedAt);
    const loadMs = Math.min(found.loadMs ?? 0, lifeMs * LONGEST_LOAD);
    const times = this.#times(now + ttlMs, storedAt, slideMs, loadMs, rules, true);
    const kept =
      found.textBytes === undefined
        ? keep(found.value, this.settings.copy)
        : keepParsed(found.value, found.textBytes, this.settings.copy);
    const overtaken = fence.broken || fence.changed || this.fences.outlived(fence, found.tags);
    if (kept !== undefined && !overtaken) this.#put(key, kept, found.tags, times, now, true);
    const value = kept?.cloned ? structuredClone(kept.value) : found.value;
    const admitted = held(value, 'remote', times, found.tags, now, found.version);
    return overtaken ? Object.assign(admitted, OVERTAKEN) : admitted;
  }

  /** Puts a value into memory; `told` unless the remote tier should have it and does not. */
  toMemory(key: string, kept: KeptValue, rules: StoreRules, told: boolean, loadMs?: number): void {
    const now = this.clock.now();
    const shared = kept.json && this.remote !== undefined;
    const times = this.#times(now + rules.ttlMs, now, rules.sliding ? rules.ttlMs : 0, loadMs, rules, shared);
    this.#put(key, kept, rules.tags, times, now, told);
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

  /** A time to live, shortened by its jitter. */
  jittered(ttlMs: number, jitter: number): number {
    return jitter === 0 ? ttlMs : ttlMs * (1 - jitter * this.settings.random());
  }

  /** Asks the remote tier; a failure there is reported, and answered with `otherwise`. */
  async remotely<T>(ask: (remote: RemoteTier) => Promise<T>, otherwise: T): Promise<T> {
    if (this.remote === undefined) return otherwise;
    try {
      return await ask(this.remote);
    } catch (error) {
      this.#remoteFailed(error);
      return otherwise;
    }
  }

  #remoteFailed(error: unknown): undefined {
    this.counts.remoteFailures++;
    this.listeners.emit('remoteFailure', { error });
  }

  /** Frees entries that are over and returns how many that were. */
  prune(): number {
    return this.memory.prune(this.clock.now());
  }

  stop(): void {
    this.fences.breakWhere(() => true);
    this.memory.clear();
    if (this.#sweep !== undefined) this.clock.clearTimeout(this.#sweep);
    this.#sweep = undefined;
  }

  #times(
    freshUntil: number,
    storedAt: number,
    slideMs: number,
    loadMs = 0,
    rules: StoreRules,
    shared: boolean,
  ): EntryTimes {
    let plainUntil = freshUntil - earlyWindowMs(loadMs, rules.earlyRefresh);
    // Of what the remote tier has too it hears now and then; alone, each read counts.
    if (slideMs > 0) plainUntil = shared ? freshUntil - slideMs * (1 - SLIDE_STEP) : Number.NEGATIVE_INFINITY;
    const { staleWhileRevalidateMs: revalidateMs, staleIfErrorMs: errorMs } = rules;
    return { storedAt, freshUntil, plainUntil, loadMs, slideMs, revalidateMs, errorMs };
  }

  #put(key: string, kept: KeptValue, tags: readonly string[], times: EntryTimes, now: number, told: boolean): void {
    this.memory.put(key, kept, this.coherence.limited(times, now, told), tags);
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

function sharesOf({ maxScopeShare, maxEntries, maxBytes }: CacheSettings): ScopeShares | undefined {
  if (maxScopeShare === 1) return undefined;
  const entries = Math.max(1, Math.floor(maxEntries * maxScopeShare));
  return new ScopeShares({ entries, bytes: maxBytes * maxScopeShare }, scopeHolder);
}
