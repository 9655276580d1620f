/**
 * Decides which slot goes when the memory tier is full. It knows slots (small integers), never keys or values; the memory tier
 * tells it what happens and asks it for a victim.
 */
export interface EvictionPolicy {
  /** A slot was filled. `key` lets a policy remember keys that it evicted. */
  added(slot: number, key: string): void;
  /** A slot was read. */
  touched(slot: number): void;
  /** A slot was emptied for another reason than eviction. */
  removed(slot: number): void;
  /** Chooses a slot to empty and forgets it; -1 when it holds none. */
  evict(keyOf: (slot: number) => string): number;
  /** More slots exist from now on. */
  grow(slots: number): void;
  clear(): void;
}
