import type { EvictionPolicy } from './eviction.ts';
import type { KeptValue } from './kept-value.ts';
import type { ScopeShares } from './scope-shares.ts';
import { grown } from './slot-queue.ts';
import { TagIndex } from './tag-index.ts';

export interface MemoryTierOptions {
  maxEntries: number;
  maxBytes: number;
  maxItemBytes: number;
  policy: EvictionPolicy;
  /** Keeps holders to their shares; undefined for no shares. */
  shares: ScopeShares | undefined;
  /** Told of each entry that leaves on its own. */
  onGone: (key: string, reason: 'capacity' | 'expired') => void;
}

/** Monotonic milliseconds, and two windows that begin where freshness ends (RFC 5861). */
export interface EntryTimes {
  storedAt: number;
  freshUntil: number;
  /** Until when a hit needs no second thought, at most `freshUntil`: after it `read` leaves a fresh entry to `entry`. */
  plainUntil: number;
  /** How long its load took; 0 if that is not known. */
  loadMs: number;
  /** For so long a use makes it live on; 0 if it does not. With `plainUntil` -Infinity `read` does it. */
  slideMs: number;
  /** For so long it is served while a refresh runs. */
  revalidateMs: number;
  /** For so long it is served when a load fails. */
  errorMs: number;
}

/** An entry as it is looked at; its value is what a reader may have. */
export interface MemoryEntry extends EntryTimes {
  value: unknown;
  tags: readonly string[];
}

const FIRST_SLOTS = 64;

/**
 * The memory tier: entries in numbered slots, their fields in arrays. It knows time only as numbers that it is given, and
 * nothing of loads or Redis.
 */
export class MemoryTier {
  bytes = 0;
  /** From then on nothing is taken for fresh. */
  trustedUntil: number = Number.POSITIVE_INFINITY;
  readonly #options: MemoryTierOptions;
  readonly #policy: EvictionPolicy;
  readonly #shares: ScopeShares | undefined;
  readonly #slotOf = new Map<string, number>();
  readonly #tags = new TagIndex();
  readonly #free: number[] = [];
  #used = 0;
  #slots = 0;
  #keys: string[] = [];
  #values: unknown[] = [];
  #plainUntil: Float64Array = new Float64Array(0);
  #freshUntil: Float64Array = new Float64Array(0);
  #storedAt: Float64Array = new Float64Array(0);
  // Lengths of time: a ten-millionth of one does not matter, eight bytes for each entry do.
  #revalidateMs: Float32Array = new Float32Array(0);
  #errorMs: Float32Array = new Float32Array(0);
  #loadMs: Float32Array = new Float32Array(0);
  #slideMs: Float32Array = new Float32Array(0);
  #bytes: Uint32Array = new Uint32Array(0);
  #cloned: Uint8Array = new Uint8Array(0);

  constructor(options: MemoryTierOptions) {
    this.#options = options;
    this.#policy = options.policy;
    this.#shares = options.shares;
  }

  get size(): number {
    return this.#slotOf.size;
  }

  /** The value if it is fresh, and counts as a use; undefined too where `entry` must be asked. A kept value is never undefined. */
  read(key: string, now: number): unknown {
    const slot = this.#slotOf.get(key);
    if (slot === undefined || now >= this.trustedUntil) return undefined;
    if (now >= (this.#plainUntil[slot] as number) && !this.#slid(slot, now)) return undefined;
    this.#policy.touched(slot);
    this.#shares?.touched(slot);
    const value = this.#values[slot];
    return this.#cloned[slot] === 1 ? structuredClone(value) : value;
  }

  /** The value if it is fresh; not counted as a use. */
  peek(key: string, now: number): unknown {
    const slot = this.#slotOf.get(key);
    if (slot === undefined || now >= (this.#freshUntil[slot] as number) || now >= this.trustedUntil) return undefined;
    const value = this.#values[slot];
    return this.#cloned[slot] === 1 ? structuredClone(value) : value;
  }

  /** The entry, fresh or not, unless its last window is over. */
  entry(key: string, now: number): MemoryEntry | undefined {
    const slot = this.#slotOf.get(key);
    if (slot === undefined || now >= this.#goneAt(slot)) return undefined;
    this.#policy.touched(slot);
    this.#shares?.touched(slot);
    const value = this.#values[slot];
    return {
      value: this.#cloned[slot] === 1 ? structuredClone(value) : value,
      storedAt: this.#storedAt[slot] as number,
      plainUntil: this.#plainUntil[slot] as number,
      loadMs: this.#loadMs[slot] as number,
      slideMs: this.#slideMs[slot] as number,
      freshUntil: this.#freshUntil[slot] as number,
      revalidateMs: this.#revalidateMs[slot] as number,
      errorMs: this.#errorMs[slot] as number,
      tags: this.#tags.of(slot),
    };
  }

  /** Puts a value in and others out where there is no room; one that is too large is not kept. */
  put(key: string, kept: KeptValue, times: EntryTimes, tags: readonly string[]): void {
    const bytes = kept.bytes + 2 * key.length + 64;
    if (bytes > this.#options.maxItemBytes || bytes > this.#options.maxBytes) {
      this.remove(key);
      return;
    }
    const slot = this.#reusedSlot(key, bytes) ?? this.#addSlot(key, bytes);
    this.bytes += bytes - (this.#bytes[slot] as number);
    this.#bytes[slot] = bytes;
    this.#shares?.resized(slot, bytes);
    this.#values[slot] = kept.value;
    this.#cloned[slot] = kept.cloned ? 1 : 0;
    this.#storedAt[slot] = times.storedAt;
    this.#freshUntil[slot] = times.freshUntil;
    this.#plainUntil[slot] = times.plainUntil;
    this.#loadMs[slot] = times.loadMs;
    this.#slideMs[slot] = times.slideMs;
    this.#revalidateMs[slot] = times.revalidateMs;
    this.#errorMs[slot] = times.errorMs;
    this.#tags.remove(slot, key);
    if (tags.length > 0) this.#tags.add(slot, key, tags);
  }

  remove(key: string): boolean {
    const slot = this.#slotOf.get(key);
    if (slot === undefined) return false;
    this.#policy.removed(slot);
    this.#empty(slot);
    return true;
  }

  /** Makes an entry stale from now on; its stale windows stay. */
  expire(key: string, now: number): void {
    const slot = this.#slotOf.get(key);
    if (slot === undefined || (this.#freshUntil[slot] as number) <= now) return;
    this.#freshUntil[slot] = now;
    this.#plainUntil[slot] = now;
  }

  /** Lets a fresh entry that slides alone live on. */
  slide(key: string, now: number): void {
    const slot = this.#slotOf.get(key);
    if (slot !== undefined) this.#slid(slot, now);
  }

  /** Hits need no second thought until then. */
  postpone(key: string, plainUntil: number): void {
    const slot = this.#slotOf.get(key);
    if (slot !== undefined) this.#plainUntil[slot] = Math.min(plainUntil, this.#freshUntil[slot] as number);
  }

  /** Makes all entries stale that would be fresh after `at`; their stale windows stay. */
  expireAll(at: number): void {
    for (let slot = 0; slot < this.#used; slot++) {
      if ((this.#freshUntil[slot] as number) > at) this.#freshUntil[slot] = at;
      if ((this.#plainUntil[slot] as number) > at) this.#plainUntil[slot] = at;
    }
  }

  has(key: string): boolean {
    return this.#slotOf.has(key);
  }

  /** A live view; removing the key at hand is allowed. */
  keys(): IterableIterator<string> {
    return this.#slotOf.keys();
  }

  keysTagged(tag: string): readonly string[] {
    return this.#tags.keys(tag);
  }

  /** Frees what is over for good and returns how many that were. */
  prune(now: number): number {
    let pruned = 0;
    for (const [key, slot] of this.#slotOf) {
      if (now < this.#goneAt(slot)) continue;
      this.remove(key);
      this.#options.onGone(key, 'expired');
      pruned++;
    }
    return pruned;
  }

  clear(): void {
    this.#slotOf.clear();
    this.#tags.clear();
    this.#policy.clear();
    this.#shares?.clear();
    this.#free.length = 0;
    this.#keys = [];
    this.#values = [];
    this.#used = 0;
    this.bytes = 0;
  }

  /** Whether it is a fresh entry that slides alone; it does so then. */
  #slid(slot: number, now: number): boolean {
    if (this.#plainUntil[slot] !== Number.NEGATIVE_INFINITY || now >= (this.#freshUntil[slot] as number)) return false;
    this.#freshUntil[slot] = now + (this.#slideMs[slot] as number);
    return true;
  }

  #goneAt(slot: number): number {
    const staleMs = Math.max(this.#revalidateMs[slot] as number, this.#errorMs[slot] as number);
    return (this.#freshUntil[slot] as number) + staleMs;
  }

  /** An entry written again keeps its place and counts as used: a refreshed one is no newcomer. Not if others must leave for it. */
  #reusedSlot(key: string, bytes: number): number | undefined {
    const slot = this.#slotOf.get(key);
    if (slot === undefined) return undefined;
    if (this.bytes + bytes - (this.#bytes[slot] as number) > this.#options.maxBytes) {
      this.remove(key);
      return undefined;
    }
    this.#policy.touched(slot);
    this.#shares?.touched(slot);
    return slot;
  }

  #addSlot(key: string, bytes: number): number {
    while (this.#slotOf.size >= this.#options.maxEntries || this.bytes + bytes > this.#options.maxBytes) {
      this.#evict(key, bytes);
    }
    const slot = this.#takeSlot();
    this.#slotOf.set(key, slot);
    this.#keys[slot] = key;
    this.#bytes[slot] = 0;
    this.#policy.added(slot, key);
    this.#shares?.added(slot, key);
    return slot;
  }

  /** Makes room for a key. */
  #evict(newKey: string, newBytes: number): void {
    let slot = this.#shares?.victim(newKey, newBytes);
    if (slot === undefined) slot = this.#policy.evict((victim) => this.#keys[victim] as string);
    else this.#policy.removed(slot);
    const key = this.#keys[slot] as string;
    this.#empty(slot);
    this.#options.onGone(key, 'capacity');
  }

  #empty(slot: number): void {
    const key = this.#keys[slot] as string;
    this.#slotOf.delete(key);
    this.#shares?.removed(slot, key);
    this.#tags.remove(slot, key);
    this.bytes -= this.#bytes[slot] as number;
    this.#keys[slot] = '';
    this.#values[slot] = undefined;
    this.#free.push(slot);
  }

  #takeSlot(): number {
    const freed = this.#free.pop();
    if (freed !== undefined) return freed;
    if (this.#used === this.#slots) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const slots = Math.min(this.#options.maxEntries, Math.max(FIRST_SLOTS, this.#slots * 2));
    this.#slots = slots;
    this.#plainUntil = grown(this.#plainUntil, slots);
    this.#freshUntil = grown(this.#freshUntil, slots);
    this.#loadMs = grown(this.#loadMs, slots);
    this.#slideMs = grown(this.#slideMs, slots);
    this.#storedAt = grown(this.#storedAt, slots);
    this.#revalidateMs = grown(this.#revalidateMs, slots);
    this.#errorMs = grown(this.#errorMs, slots);
    this.#bytes = grown(this.#bytes, slots);
    this.#cloned = grown(this.#cloned, slots);
    this.#policy.grow(slots);
    this.#shares?.grow(slots);
  }
}
