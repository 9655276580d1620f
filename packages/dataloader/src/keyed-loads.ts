import type { Batch, EntryOwner } from './batch.ts';
import { joinChannel } from './batch-events.ts';
import type { BatchQueue } from './batch-queue.ts';
import { isError } from './batch-results.ts';
import type { CacheMap } from './cache-map.ts';
import { type Entry, FAILED, KEPT, knownEntry, PENDING, VALUE } from './entry.ts';
import { whenAborted } from './when-aborted.ts';

export interface LoadOptions {
  /** Ends this caller's wait at once with `signal.reason`; others who wait for the key are not affected. */
  signal?: AbortSignal | undefined;
}

export interface KeyedLoadsOptions<K, V, C> {
  cacheKeyFn: ((key: K) => C) | undefined;
  /** A cache of our own, or one of the user's kind, or (neither) nothing is kept. */
  entries: CacheMap<C, Entry<K, V>> | undefined;
  promises: CacheMap<C, Promise<V>> | undefined;
  /** Whether hits wait for the open batch. */
  orderedHits: boolean;
  /** Whether a key that the open batch has already is not asked for again. */
  dedupe: boolean;
  partition: ((key: K) => unknown) | undefined;
}

/** A cache in front of a queue of batches: a loader's own, or a request's over a loader that it shares. */
export class KeyedLoads<K, V, C> implements EntryOwner<K, V> {
  readonly #queue: BatchQueue<K, V>;
  readonly #entries: CacheMap<C, Entry<K, V>> | undefined;
  readonly #promises: CacheMap<C, Promise<V>> | undefined;
  readonly #orderedHits: boolean;
  readonly #cacheKeyFn: ((key: K) => C) | undefined;
  #dedupe: boolean;
  readonly #partition: ((key: K) => unknown) | undefined;
  /** Whether a load without a signal needs nothing but the cache and the open batch. */
  readonly #plain: boolean;
  /** The entries behind the promises that a map of the user's kind keeps, while these are pending. */
  readonly #behind: WeakMap<object, Entry<K, V>> | undefined;

  constructor(queue: BatchQueue<K, V>, options: KeyedLoadsOptions<K, V, C>) {
    this.#queue = queue;
    this.#entries = options.entries;
    this.#promises = options.promises;
    this.#orderedHits = options.orderedHits;
    this.#cacheKeyFn = options.cacheKeyFn;
    this.#dedupe = options.dedupe;
    this.#partition = options.partition;
    this.#plain = options.partition === undefined && !queue.watchesJoins && !queue.weighs;
    this.#behind = options.promises === undefined ? undefined : new WeakMap();
  }

  load(key: K, options: LoadOptions | undefined): Promise<V> {
    if (key === null || key === undefined) {
      throw new TypeError(`The loader.load() function must be called with a value, but got: ${String(key)}.`);
    }
    const entries = this.#entries;
    if (!this.#plain || options !== undefined || entries === undefined || joinChannel.hasSubscribers) {
      return this.#loadWith(key, options?.signal);
    }
    // Most loads are of this kind, and this is all that they need.
    const queue = this.#queue;
    queue.loads += 1;
    const cacheKey = this.#cacheKey(key);
    const entry = entries.get(cacheKey);
    if (entry) return this.#plainHit(entry);
    const batch = this.#dedupe ? queue.openFor(key, undefined, cacheKey) : queue.open(undefined);
    batch.pinned = true;
    const added = this.#join(key, cacheKey, batch);
    entries.set(cacheKey, added);
    return added.result as Promise<V>;
  }

  // What `#hit` comes to for a caller without a signal, where nobody watches.
  #plainHit(entry: Entry<K, V>): Promise<V> {
    const queue = this.#queue;
    queue.hits += 1;
    if (entry.batch !== undefined) entry.batch.pinned = true;
    if (!this.#orderedHits || entry.state === KEPT) return promiseOfEntry(entry);
    const open = queue.open(undefined);
    return entry.batch === open ? (entry.result as Promise<V>) : open.hit(entry);
  }

  #loadWith(key: K, signal: AbortSignal | undefined): Promise<V> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const queue = this.#queue;
    queue.loads += 1;
    const partition = this.#partition === undefined ? undefined : this.#partition(key);
    const entries = this.#entries;
    if (entries === undefined) return this.#loadPromise(key, partition, signal);
    const cacheKey = this.#cacheKey(key);
    const entry = entries.get(cacheKey);
    // What another partition has asked for is not this one's to see.
    if (entry && entry.partition === partition) return this.#hit(key, entry, signal);
    const batch = queue.openFor(key, partition, this.#dedupe ? cacheKey : undefined);
    const added = this.#join(key, cacheKey, batch);
    const promise = added.result as Promise<V>;
    entries.set(cacheKey, added);
    const waited = this.#waited(key, promise, batch, signal);
    if (queue.watchesJoins) queue.joined(batch);
    return waited;
  }

  /** From now on others put keys into the same batches: what they ask for already is not asked for twice. */
  shareBatches(): void {
    this.#queue.share();
    if (this.#entries !== undefined || this.#promises !== undefined) this.#dedupe = true;
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
      const partition = this.#partition === undefined ? undefined : this.#partition(key);
      const entry = this.#entries.get(cacheKey);
      if (entry && entry.partition === partition) return;
      this.#entries.set(cacheKey, this.#primed(value, partition));
    } else if (this.#promises?.get(cacheKey) === undefined) {
      this.#promises?.set(cacheKey, promiseOf(value));
    }
  }

  forget(key: K, entry: Entry<K, V>): void {
    const cacheKey = this.#cacheKey(key);
    // Only what this batch put there: it may have been cleared, loaded again or primed meanwhile.
    if (this.#entries !== undefined) {
      if (this.#entries.get(cacheKey) === entry) this.#entries.delete(cacheKey);
    } else if (this.#promises?.get(cacheKey) === entry.result) {
      this.#promises?.delete(cacheKey);
    }
  }

  #cacheKey(key: K): C {
    return this.#cacheKeyFn === undefined ? (key as unknown as C) : this.#cacheKeyFn(key);
  }

  // Puts the key into the batch, or finds it there.
  #join(key: K, cacheKey: C | undefined, batch: Batch<K, V>): Entry<K, V> {
    const queue = this.#queue;
    const at = this.#dedupe ? batch.positionOf(cacheKey) : undefined;
    if (at !== undefined) {
      queue.hits += 1;
      batch.follow(at, this);
      return batch.entries[at] as Entry<K, V>;
    }
    queue.runner.queuedKeys += 1;
    const entry = batch.add(key, this, !this.#orderedHits);
    if (this.#dedupe || queue.shared) batch.locate(cacheKey, batch.keys.length - 1);
    return entry;
  }

  #loadPromise(key: K, partition: unknown, signal: AbortSignal | undefined): Promise<V> {
    const queue = this.#queue;
    const known = this.#promises !== undefined || this.#dedupe || queue.shared;
    const cacheKey = known ? this.#cacheKey(key) : undefined;
    let cached: Promise<V> | undefined;
    try {
      cached = this.#promises?.get(cacheKey as C) as Promise<V> | undefined;
    } catch (error) {
      return Promise.reject(error);
    }
    if (cached !== undefined && cached !== null) return this.#hitPromise(key, cached, partition, signal);
    const batch = queue.openFor(key, partition, this.#dedupe ? cacheKey : undefined);
    const entry = this.#join(key, cacheKey, batch);
    const promise = entry.result as Promise<V>;
    this.#behind?.set(promise, entry);
    const waited = this.#waited(key, promise, batch, signal);
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

  #hit(key: K, entry: Entry<K, V>, signal: AbortSignal | undefined): Promise<V> {
    const queue = this.#queue;
    queue.hits += 1;
    const source = entry.batch;
    if (source !== undefined) queue.awaited(source);
    if (!this.#orderedHits || entry.state === KEPT) return this.#waited(key, promiseOfEntry(entry), source, signal);
    const open = queue.open(entry.partition);
    const promise = source === open ? (entry.result as Promise<V>) : open.hit(entry);
    const waited = this.#waited(key, promise, source, signal);
    if (queue.watchesJoins) queue.joined(open);
    return waited;
  }

  #hitPromise(key: K, promise: Promise<V>, partition: unknown, signal: AbortSignal | undefined): Promise<V> {
    const queue = this.#queue;
    queue.hits += 1;
    const source = this.#behind?.get(promise)?.batch;
    if (source !== undefined) queue.awaited(source);
    if (!this.#orderedHits) return this.#waited(key, promise, source, signal);
    const open = queue.open(partition);
    const waited = this.#waited(key, open.hit(knownEntry<K, V>(KEPT, promise, partition)), source, signal);
    if (queue.watchesJoins) queue.joined(open);
    return waited;
  }

  /** `promise`, or for a caller who may leave, one that ends when its signal aborts. */
  #waited(key: K, promise: Promise<V>, batch: Batch<K, V> | undefined, signal: AbortSignal | undefined): Promise<V> {
    if (batch !== undefined) {
      if (signal === undefined) batch.pinned = true;
      else batch.join();
      if (joinChannel.hasSubscribers) this.#queue.publishJoin(key, batch);
    }
    return signal === undefined ? promise : orAborted(promise, batch, signal);
  }

  #primed(value: V | PromiseLike<V> | Error, partition: unknown): Entry<K, V> {
    if (!this.#orderedHits) return knownEntry<K, V>(KEPT, promiseOf(value), partition);
    if (isError(value)) return knownEntry<K, V>(FAILED, value, partition);
    if (typeof (value as PromiseLike<V> | undefined)?.then !== 'function') {
      return knownEntry<K, V>(VALUE, value, partition);
    }
    return knownEntry<K, V>(PENDING, promiseOf(value), partition);
  }
}

function orAborted<K, V>(promise: Promise<V>, batch: Batch<K, V> | undefined, signal: AbortSignal): Promise<V> {
  return new Promise<V>((resolve, reject) => {
    const done = whenAborted(signal, () => {
      reject(signal.reason);
      batch?.leave(signal.reason);
    });
    // Not `promise.then`: others have the same promise, and may have put something else there.
    const settle = async () => {
      try {
        resolve(await promise);
      } catch (error) {
        reject(error);
      } finally {
        done();
      }
    };
    void settle();
  });
}

/** What the entry comes to, by itself. One whose own hits are ordered has let go of its promise once it has settled. */
function promiseOfEntry<K, V>({ state, result }: Entry<K, V>): Promise<V> {
  if (state === VALUE) return Promise.resolve(result as V);
  return state === FAILED ? Promise.reject(result) : (result as Promise<V>);
}

function promiseOf<V>(value: V | PromiseLike<V> | Error): Promise<V> {
  if (!isError(value)) return Promise.resolve(value as V | PromiseLike<V>);
  const promise = Promise.reject(value);
  // Nobody waits for it yet; who loads it later gets it, and is warned of if they do not look.
  promise.catch(() => {});
  return promise;
}
