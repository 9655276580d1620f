import type { Clock } from './clock.ts';

/** What a cache must be able to do: a part of `Map`. */
export interface CacheMap<K, V> {
  // biome-ignore lint/suspicious/noConfusingVoidType: caches typed for graphql/dataloader say so
  get(key: K): V | undefined | void;
  set(key: K, value: V): unknown;
  delete(key: K): unknown;
  clear(): unknown;
}

/** A map of at most `maxEntries`, the longest unused leaving first, none older than `ttlMs`. */
export class BoundedMap<K, V> implements CacheMap<K, V> {
  readonly #entries = new Map<K, { value: V; setAt: number }>();
  readonly #maxEntries: number;
  readonly #ttlMs: number;
  readonly #clock: Clock;

  constructor(maxEntries: number, ttlMs: number, clock: Clock) {
    this.#maxEntries = maxEntries;
    this.#ttlMs = ttlMs;
    this.#clock = clock;
  }

  get(key: K): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (this.#ttlMs !== Number.POSITIVE_INFINITY && this.#clock.now() - entry.setAt >= this.#ttlMs) return undefined;
    this.#entries.set(key, entry);
    return entry.value;
  }

  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, setAt: this.#ttlMs === Number.POSITIVE_INFINITY ? 0 : this.#clock.now() });
    if (this.#entries.size <= this.#maxEntries) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }

  delete(key: K): boolean {
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
