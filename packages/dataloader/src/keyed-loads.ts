import type { Batch, EntryOwner } from './batch.ts';
import type { BatchQueue } from './batch-queue.ts';
import { isError } from './batch-results.ts';
import type { CacheMap } from './cache-map.ts';
import { Entry, FAILED, PENDING, VALUE } from './entry.ts';

export interface LoadOptions {
  /** Ends this caller's wait at once with `signal.reason`; others who wait for the key are not affected. */
  signal?: AbortSignal | undefined;
}

export interface KeyedLoadsOptions<K, V, C> {
  cacheKeyFn: ((key: K) => C) | undefined;
  /** Loads by entry, or by promise in a map of the user's kind, or (neither) not at all kept. */
  entries: Map<C, Entry<K, V>> | undefined;
  promises: CacheMap<C, Promise<V>> | undefined;
  /** Whether hits wait for the open batch. Always, for `entries`. */
  orderedHits: boolean;
  /** Whether a key that the open batch has already is not asked for again. */
  dedupe: boolean;
  partition: ((key: K) => unknown) | undefined;
}

/** A cache in front of a queue of batches: a loader's own, or a request's over a loader that it shares. */
export class KeyedLoads<K, V, C> implements EntryOwner<K, V> {
  readonly #queue: BatchQueue<K, V>;
  readonly #options: KeyedLoadsOptions<K, V, C>;
  readonly #entries: Map<C, Entry<K, V>> | undefined;
  readonly #promises: CacheMap<C, Promise<V>> | undefined;
  readonly #cacheKeyFn: ((key: K) => C) | undefined;
  readonly #dedupe: boolean;
  readonly #partition: ((key: K) => unknown) | undefined;

  constructor(queue: BatchQueue<K, V>, options: KeyedLoadsOptions<K, V, C>) {
    this.#queue = queue;
    this.#options = options;
    this.#entries = options.entries;
    this.#promises = options.promises;
    this.#cacheKeyFn = options.cacheKeyFn;
    this.#dedupe = options.dedupe;
    this.#partition = options.partition;
  }

  load(key: K, options: LoadOptions | undefined): Promise<V> {
    if (key === null || key === undefined) {
      throw new TypeError(`The loader.load() function must be called with a value, but got: ${String(key)}.`);
    }
    const signal = options?.signal;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const queue = this.#queue;
    queue.loads += 1;
    const partition = this.#partition === undefined ? undefined : this.#partition(key);
    if (this.#entries === undefined) return this.#loadPromise(key, partition, signal);
    const cacheKey = this.#cacheKey(key);
    const entry = this.#entries.get(cacheKey);
    if (entry !== undefined) return this.#hit(entry, partition, signal);
    const batch = queue.open(partition);
    const added = batch.add(key, this);
    const promise = added.result as Promise<V>;
    queue.queuedKeys += 1;
    this.#entries.set(cacheKey, added);
    const waited = this.#waited(promise, batch, signal);
    if (queue.watchesJoins) queue.joined(batch);
    return waited;
  }

  clear(key: K): void {
    if (this.#entries !== undefined) this.#entries.delete(this.#cacheKey(key));
    else this.#promises?.delete(this.#cacheKey(key));
  }

  clearAll(): void {
    if (this.#entries !== undefined) this.#entries.clear();
    else this.#promises?.clear();
  }

  prime(key: K, value: V | PromiseLike<V> | Error): void {
    if (this.#entries === undefined && this.#promises === undefined) return;
    const cacheKey = this.#cacheKey(key);
    if (this.#entries !== undefined) {
      if (!this.#entries.has(cacheKey)) this.#entries.set(cacheKey, primed(value));
    } else if (this.#promises?.get(cacheKey) === undefined) {
      let promise: Promise<V>;
      if (isError(value)) {
        promise = Promise.reject(value);
        // Nobody waits for it yet; who loads it later gets it, and is warned of if they do not look.
        promise.catch(() => {});
      } else {
        promise = Promise.resolve(value as V | PromiseLike<V>);
      }
      this.#promises?.set(cacheKey, promise);
    }
  }

  forget(key: K, entry: Entry<K, V>, promise: unknown): void {
    const cacheKey = this.#cacheKey(key);
    // Only what this batch put there: it may have been cleared, loaded again or primed meanwhile.
    if (this.#entries !== undefined) {
      if (this.#entries.get(cacheKey) === entry) this.#entries.delete(cacheKey);
    } else if (this.#promises?.get(cacheKey) === promise) {
      this.#promises?.delete(cacheKey);
    }
  }

  #cacheKey(key: K): C {
    return this.#cacheKeyFn === undefined ? (key as unknown as C) : this.#cacheKeyFn(key);
  }

  #loadPromise(key: K, partition: unknown, signal: AbortSignal | undefined): Promise<V> {
    const queue = this.#queue;
    const cacheKey = this.#promises !== undefined || this.#dedupe ? this.#cacheKey(key) : undefined;
    let cached: Promise<V> | undefined;
    try {
      cached = this.#promises?.get(cacheKey as C) as Promise<V> | undefined;
    } catch (error) {
      return Promise.reject(error);
    }
    if (cached !== undefined && cached !== null) return this.#hitPromise(cached, partition, signal);
    const batch = queue.open(partition);
    const at = this.#dedupe ? batch.positionOf(cacheKey) : undefined;
    const entry = at === undefined ? batch.add(key, this) : (batch.entries[at] as Entry<K, V>);
    if (at === undefined) {
      queue.queuedKeys += 1;
      if (this.#dedupe) batch.locate(cacheKey);
    } else {
      queue.hits += 1;
      batch.follow(at, this);
    }
    const promise = entry.result as Promise<V>;
    const waited = this.#waited(promise, batch, signal);
    try {
      this.#promises?.set(cacheKey as C, promise);
    } catch (error) {
      waited.catch(() => {});
      return Promise.reject(error);
    } finally {
      if (queue.watchesJoins) queue.joined(batch);
    }
    return waited;
  }

  #hit(entry: Entry<K, V>, partition: unknown, signal: AbortSignal | undefined): Promise<V> {
    const queue = this.#queue;
    queue.hits += 1;
    const open = queue.open(partition);
    const source = entry.batch;
    let promise: Promise<V>;
    if (source === open) promise = entry.result as Promise<V>;
    else if (entry.gate?.batch === open) promise = entry.gate.promise;
    else promise = open.gate(entry);
    if (source !== undefined) queue.awaited(source);
    const waited = this.#waited(promise, source, signal);
    if (queue.watchesJoins) queue.joined(open);
    return waited;
  }

  #hitPromise(promise: Promise<V>, partition: unknown, signal: AbortSignal | undefined): Promise<V> {
    const queue = this.#queue;
    queue.hits += 1;
    const source =
      signal !== undefined || queue.leavable > 0 || queue.tracksNesting ? queue.entryOf(promise)?.batch : undefined;
    if (source !== undefined) queue.awaited(source);
    if (!this.#options.orderedHits) return this.#waited(promise, source, signal);
    const open = queue.open(partition);
    const waited = this.#waited(open.gate(promise), source, signal);
    if (queue.watchesJoins) queue.joined(open);
    return waited;
  }

  /** `promise`, or for a caller who may leave, one that ends when its signal aborts. */
  #waited(promise: Promise<V>, batch: Batch<K, V> | undefined, signal: AbortSignal | undefined): Promise<V> {
    if (signal === undefined) {
      if (batch !== undefined) batch.pinned = true;
      return promise;
    }
    if (batch?.join()) this.#queue.leavable += 1;
    return new Promise<V>((resolve, reject) => {
      const onAbort = () => {
        reject(signal.reason);
        batch?.leave(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const done = () => signal.removeEventListener('abort', onAbort);
      promise.then(
        (value) => {
          done();
          resolve(value);
        },
        (error) => {
          done();
          reject(error);
        },
      );
    });
  }
}

function primed<K, V>(value: V | PromiseLike<V> | Error): Entry<K, V> {
  if (isError(value)) return new Entry<K, V>(FAILED, value);
  if (typeof (value as PromiseLike<V> | undefined)?.then !== 'function') return new Entry<K, V>(VALUE, value);
  return new Entry<K, V>(PENDING, Promise.resolve(value as PromiseLike<V>));
}
