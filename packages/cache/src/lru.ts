import type { EvictionPolicy } from './eviction.ts';
import { SlotLinks, SlotQueue } from './slot-queue.ts';

/** Least recently used goes first. */
export class Lru implements EvictionPolicy {
  readonly #links = new SlotLinks();
  readonly #queue = new SlotQueue(this.#links);

  added(slot: number): void {
    this.#queue.pushFront(slot);
  }

  touched(slot: number): void {
    this.#queue.moveToFront(slot);
  }

  removed(slot: number): void {
    this.#queue.remove(slot);
  }

  evict(): number {
    return this.#queue.popBack();
  }

  grow(slots: number): void {
    this.#links.grow(slots);
  }

  clear(): void {
    this.#queue.clear();
  }
}
