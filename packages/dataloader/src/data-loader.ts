import { BatchQueue } from './batch-queue.ts';
import { BoundedMap, type CacheMap } from './cache-map.ts';
import type { Entry } from './entry.ts';
import { KeyedLoads, type LoadOptions } from './keyed-loads.ts';
import { type BatchLoadFn, type CheckedOptions, checkOptions, type DataLoaderOptions } from './loader-options.ts';
import { type Loader, LoaderView, loadEach } from './loader-view.ts';

export interface LoaderStats {
  /** Calls of `load`, and how many of them were answered from the cache or joined a key in the open batch. */
  loads: number;
  hits: number;
  batches: number;
  /** Keys given to the batch function; over `batches` that is the mean size of a batch. */
  keysLoaded: number;
  /** The most keys that a batch has had. */
  largestBatch: number;
  batchFailures: number;
  /** Keys that wait for their batch to start, and batches that run. */
  queuedKeys: number;
  runningBatches: number;
  /**
   * How long batches have waited, from their first key until they started, all together. Milliseconds. Not measured where
   * nothing waits longer than the rest of a turn: with `'tick'` and no `maxConcurrentBatches`.
   */
  queueWaitMs: number;
}

let makeView: <K, V, C>(loader: DataLoader<K, V, C>, ctx: unknown) => Loader<K, V>;

/** Turns the loads of one turn, or of a short window, into one call of a batch function, and keeps what it gave. */
export class DataLoader<K, V, C = K> implements Loader<K, V> {
  name: string | null;
  static {
    makeView = (loader, ctx) => loader.#view(ctx);
  }

  readonly #queue: BatchQueue<K, V>;
  readonly #loads: KeyedLoads<K, V, C>;
  readonly #options: CheckedOptions<K, V, C>;

  constructor(batchLoadFn: BatchLoadFn<K, V>, options: DataLoaderOptions<K, V, C> | null = {}) {
    if (typeof batchLoadFn !== 'function') {
      throw new TypeError(
        'DataLoader must be constructed with a function which accepts Array<key> and returns Promise<Array<value>>, ' +
          `but got: ${batchLoadFn}.`,
      );
    }
    this.#options = checkOptions(options ?? {}, this);
    const { queue, cacheKeyFn, cacheMap, orderedHits, dedupe, partition } = this.#options;
    this.name = queue.name;
    this.#queue = new BatchQueue<K, V>((keys, context) => batchLoadFn.call(this, keys, context), queue);
    this.#loads = new KeyedLoads<K, V, C>(this.#queue, {
      cacheKeyFn,
      entries: cacheMap === undefined ? ownCache(this.#options) : undefined,
      promises: cacheMap ?? undefined,
      orderedHits,
      dedupe: dedupe && cacheMap === null,
      partition: partition === undefined ? undefined : (key) => partition(key, undefined),
    });
  }

  /** The value of `key`: from the cache, or with the batch that is open. */
  load(key: K, options?: LoadOptions): Promise<V> {
    return this.#loads.load(key, options);
  }

  /** A value or an Error for each key; never rejects for a key. */
  loadMany(keys: ArrayLike<K>, options?: LoadOptions): Promise<Array<V | Error>> {
    return loadEach(this, keys, options);
  }

  /** Forgets `key`. A load of it that is under way goes on. */
  clear(key: K): this {
    this.#loads.clear(key);
    return this;
  }

  /** Forgets all keys. */
  clearAll(): this {
    this.#loads.clearAll();
    return this;
  }

  /** Keeps `value` (or an Error) for `key`, unless there is something already. */
  prime(key: K, value: V | PromiseLike<V> | Error): this {
    this.#loads.prime(key, value);
    return this;
  }

  /** Counters since the loader was made, and what waits and runs now. */
  stats(): LoaderStats {
    const { loads, hits, runner } = this.#queue;
    const { batches, keysLoaded, largestBatch, batchFailures, queuedKeys, running, queueWaitMs } = runner;
    return {
      loads,
      hits,
      batches,
      keysLoaded,
      largestBatch,
      batchFailures,
      queuedKeys,
      runningBatches: running,
      queueWaitMs,
    };
  }

  #view(ctx: unknown): Loader<K, V> {
    const { cacheKeyFn, cacheMap, partition } = this.#options;
    this.#loads.shareBatches();
    const loads = new KeyedLoads<K, V, C>(this.#queue, {
      cacheKeyFn,
      entries: cacheMap === null ? undefined : ownCache(this.#options),
      promises: undefined,
      // The open batch is made of other requests' keys: a hit has no reason to wait for it.
      orderedHits: false,
      dedupe: true,
      partition: partition === undefined ? undefined : (key) => partition(key, ctx),
    });
    return new LoaderView(this.name, loads);
  }
}

/** A request's view of a loader: a cache of its own over the loader's batches. */
export function viewOf<K, V, C>(loader: DataLoader<K, V, C>, ctx: unknown): Loader<K, V> {
  return makeView(loader, ctx);
}

function ownCache<K, V, C>({ queue, maxEntries, ttlMs }: CheckedOptions<K, V, C>): CacheMap<C, Entry<K, V>> {
  const bounded = maxEntries !== Number.POSITIVE_INFINITY || ttlMs !== Number.POSITIVE_INFINITY;
  return bounded ? new BoundedMap<C, Entry<K, V>>(maxEntries, ttlMs, queue.clock) : new Map<C, Entry<K, V>>();
}

type LoaderCache<K, V> = CacheMap<K, V>;

/** The type names of graphql/dataloader, and what it says they are: code that calls a `BatchLoadFn` itself goes on to compile. */
export declare namespace DataLoader {
  export type Options<K, V, C = K> = DataLoaderOptions<K, V, C>;
  export type BatchLoadFn<K, V> = (keys: ReadonlyArray<K>) => PromiseLike<ArrayLike<V | Error>>;
  export type CacheMap<K, V> = LoaderCache<K, V>;
}
