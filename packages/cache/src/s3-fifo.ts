import type { EvictionPolicy } from './eviction.ts';
import { grown, SlotLinks, SlotQueue } from './slot-queue.ts';

const MAX_FREQUENCY = 3;

/**
 * S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a small queue of a tenth of the space
 * takes newcomers, so that what is asked for once leaves quickly; what was asked for again while in it moves to the main queue,
 * as does what comes back soon after it left (the ghost queue remembers). A hit only counts up to 3.
 */
export class S3Fifo implements EvictionPolicy {
  readonly #links = new SlotLinks();
  readonly #small = new SlotQueue(this.#links);
  readonly #main = new SlotQueue(this.#links);
  readonly #ghost: GhostQueue;
  #frequency: Uint8Array = new Uint8Array(0);
  #inMain: Uint8Array = new Uint8Array(0);

  constructor(maxEntries: number) {
    this.#ghost = new GhostQueue(Math.max(1, Math.ceil(maxEntries * 0.9)));
  }

  added(slot: number, key: string): void {
    const returned = this.#ghost.take(key);
    this.#frequency[slot] = 0;
    this.#inMain[slot] = returned ? 1 : 0;
    (returned ? this.#main : this.#small).pushFront(slot);
  }

  touched(slot: number): void {
    const frequency = this.#frequency[slot] as number;
    if (frequency < MAX_FREQUENCY) this.#frequency[slot] = frequency + 1;
  }

  removed(slot: number): void {
    (this.#inMain[slot] === 1 ? this.#main : this.#small).remove(slot);
  }

  evict(keyOf: (slot: number) => string): number {
    // A tenth of what is held now, not of maxEntries: when bytes are what binds, the tier never gets near maxEntries.
    for (let total = this.#small.size + this.#main.size; total > 0; ) {
      const slot = this.#small.size * 10 >= total ? this.#fromSmall(keyOf) : this.#fromMain();
      if (slot !== -1) return slot;
    }
    return -1;
  }

  grow(slots: number): void {
    this.#links.grow(slots);
    this.#frequency = grown(this.#frequency, slots);
    this.#inMain = grown(this.#inMain, slots);
  }

  clear(): void {
    this.#small.clear();
    this.#main.clear();
    this.#ghost.clear();
  }

  #fromSmall(keyOf: (slot: number) => string): number {
    const slot = this.#small.popBack();
    if ((this.#frequency[slot] as number) > 1) {
      this.#frequency[slot] = 0;
      this.#inMain[slot] = 1;
      this.#main.pushFront(slot);
      return -1;
    }
    this.#ghost.add(keyOf(slot));
    return slot;
  }

  #fromMain(): number {
    const slot = this.#main.popBack();
    const frequency = this.#frequency[slot] as number;
    if (frequency === 0) return slot;
    this.#frequency[slot] = frequency - 1;
    this.#main.pushFront(slot);
    return -1;
  }
}

/**
 * The keys evicted last, as 32-bit fingerprints in a direct-mapped table: a fingerprint counts while fewer than `capacity` keys have
 * come after it. Two keys may meet in a place or share a fingerprint; that costs a little hit ratio, never a wrong answer.
 */
class GhostQueue {
  readonly #capacity: number;
  readonly #mask: number;
  #fingerprints: Uint32Array | undefined;
  #turns: Uint32Array = new Uint32Array(0);
  #turn = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#mask = 2 ** Math.ceil(Math.log2(capacity * 4)) - 1;
  }

  add(key: string): void {
    if (this.#fingerprints === undefined) {
      this.#fingerprints = new Uint32Array(this.#mask + 1);
      this.#turns = new Uint32Array(this.#mask + 1);
    }
    const fingerprint = fingerprintOf(key);
    this.#turn = (this.#turn + 1) >>> 0;
    this.#fingerprints[fingerprint & this.#mask] = fingerprint;
    this.#turns[fingerprint & this.#mask] = this.#turn;
  }

  /** Whether the key was evicted lately; it is forgotten then. */
  take(key: string): boolean {
    if (this.#fingerprints === undefined) return false;
    const fingerprint = fingerprintOf(key);
    const place = fingerprint & this.#mask;
    if (this.#fingerprints[place] !== fingerprint) return false;
    this.#fingerprints[place] = 0;
    return (this.#turn - (this.#turns[place] as number)) >>> 0 < this.#capacity;
  }

  clear(): void {
    this.#fingerprints = undefined;
  }
}

/** FNV-1a with a final mix; 0 stands for an empty place. */
function fingerprintOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash ^= hash >>> 13;
  return hash >>> 0 || 1;
}
