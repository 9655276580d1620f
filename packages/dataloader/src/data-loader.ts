import type { BatchEvent } from './batch-events.ts';
import { BatchQueue } from './batch-queue.ts';
import type { Missing } from './batch-results.ts';
import type { BatchContext } from './batch-runner.ts';
import { BoundedMap, type CacheMap } from './cache-map.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Entry } from './entry.ts';
import { KeyedLoads, type LoadOptions } from './keyed-loads.ts';
import { type Loader, LoaderView, loadEach } from './loader-view.ts';
import {
  checkClock,
  checkCount,
  checkDuration,
  checkOptionalBoolean,
  checkOptionalString,
  checkTimer,
  wrongOption,
} from './option-checks.ts';
import { checkSchedule, type Schedule, type ScheduleFn } from './schedule.ts';

/**
 * Loads many keys: values or Errors in the order of `keys`, or a Map by key. It runs once per batch, with the loader as
 * `this`, in the async context in which the loader was made: what it needs of a caller must be in the keys or the partition.
 */
export type BatchLoadFn<K, V> = (
  keys: ReadonlyArray<K>,
  context: BatchContext,
) => PromiseLike<ArrayLike<V | Error> | ReadonlyMap<unknown, V | Error>>;

export interface DataLoaderOptions<K, V, C = K> {
  /** `false` is `maxBatchSize: 1`. Default true. */
  batch?: boolean | undefined;
  /** At most so many keys in a batch. Default `Infinity`. */
  maxBatchSize?: number | undefined;
  /** When a batch is dispatched. Default `'tick'`; a server whose requests each come with one key wants `'immediate'` or a window. */
  schedule?: Schedule | undefined;
  /** A schedule of one's own, in place of `schedule`; called with the loader as `this`. */
  batchScheduleFn?: ((dispatch: () => void) => void) | undefined;
  /** `false`: nothing is kept, and a key that is asked for twice is loaded twice. Default true. */
  cache?: boolean | undefined;
  /** What a key is cached under. Default: the key itself, so two equal objects are two keys. */
  cacheKeyFn?: ((key: K) => C) | undefined;
  /** Where promises are kept. Default: a Map of the loader's own, without bound. `null` is `cache: false`. */
  cacheMap?: CacheMap<C, Promise<V>> | null | undefined;
  /** For messages and tracing. Default `null`. */
  name?: string | null | undefined;
  /** At most so many keys are kept; the longest unused goes first. Default `Infinity`. Not with `cacheMap`. */
  maxEntries?: number | undefined;
  /** How long a key is kept. Milliseconds, default for ever. Not with `cacheMap`. */
  ttlMs?: number | undefined;
  /** Whether an Error that the batch function gives for a key is kept. What rejects a whole batch never is. Default true. */
  cacheErrors?: boolean | ((error: Error, key: K) => boolean) | undefined;
  /** Whether a hit waits for the batch that is open, so that what follows it joins the same next batch. `false` is faster. Default true. */
  orderedHits?: boolean | undefined;
  /** With the cache off: whether a key that is in the open batch already is asked for once. Default false. */
  dedupe?: boolean | undefined;
  /** What a key comes to that a Map of results lacks. Default `'undefined'`. */
  missing?: Missing | undefined;
  /** What the keys of a batch may weigh together, by `weightOf`; a key that weighs more by itself goes alone. Default `Infinity`. */
  maxBatchWeight?: number | undefined;
  /** What a key weighs, for `maxBatchWeight`: rows, bytes, tokens; a finite number >= 0. */
  weightOf?: ((key: K) => number) | undefined;
  /** At most so many batches run at once; further ones wait. Default `Infinity`. */
  maxConcurrentBatches?: number | undefined;
  /** After so long a batch is aborted and its callers get `ERR_TIMEOUT`. Milliseconds, default never. */
  batchTimeoutMs?: number | undefined;
  /** Called with what became of each batch that has started, when it has ended; what it throws is ignored. Default none. */
  onBatch?: ((event: BatchEvent) => void) | undefined;
  /** Keys of different partitions never share a batch, nor what is cached. `ctx` is what `createLoaders(…).for(ctx)` was given. Default: one partition. */
  partition?: ((key: K, ctx: unknown) => unknown) | undefined;
  /** Default: the process's monotonic clock. */
  clock?: Clock | undefined;
}

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
  readonly #options: DataLoaderOptions<K, V, C>;
  readonly #cacheKeyFn: ((key: K) => C) | undefined;
  readonly #cached: boolean;

  constructor(batchLoadFn: BatchLoadFn<K, V>, options: DataLoaderOptions<K, V, C> | null = {}) {
    if (typeof batchLoadFn !== 'function') {
      throw new TypeError(
        'DataLoader must be constructed with a function which accepts Array<key> and returns Promise<Array<value>>, ' +
          `but got: ${batchLoadFn}.`,
      );
    }
    this.#options = options ?? {};
    const { cacheKeyFn, partition, onBatch, clock = systemClock } = this.#options;
    checkFunction('cacheKeyFn', cacheKeyFn);
    checkFunction('partition', partition);
    if (onBatch !== undefined && typeof onBatch !== 'function') throw wrongOption('onBatch', 'a function', onBatch);
    checkClock(clock);
    // null is what graphql/dataloader says for a loader without a name.
    if (this.#options.name !== null) checkOptionalString('name', this.#options.name);
    for (const option of ['batch', 'cache', 'orderedHits', 'dedupe'] as const) {
      checkOptionalBoolean(option, this.#options[option]);
    }
    const cacheMap = validCacheMap(this.#options);
    const { orderedHits = true, dedupe = false } = this.#options;
    this.name = this.#options.name || null;
    this.#cached = cacheMap !== null;
    this.#cacheKeyFn = cacheKeyFn === undefined ? undefined : (key) => cacheKeyFn.call(this, key);
    this.#queue = new BatchQueue<K, V>((keys, context) => batchLoadFn.call(this, keys, context), {
      name: this.name,
      missing: validMissing(this.#options.missing),
      cacheKeyFn: this.#cacheKeyFn ?? ((key) => key),
      cacheErrors: validCacheErrors(this.#options),
      maxBatchSize: validMaxBatchSize(this.#options),
      onBatch,
      ...validWeights(this.#options),
      schedule: validSchedule(this.#options, this),
      clock,
      ...validLimits(this.#options),
    });
    this.#loads = new KeyedLoads<K, V, C>(this.#queue, {
      cacheKeyFn: this.#cacheKeyFn,
      entries: cacheMap === undefined ? ownCache(this.#options, clock) : undefined,
      promises: cacheMap ?? undefined,
      orderedHits,
      dedupe: dedupe && !this.#cached,
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
    const { partition } = this.#options;
    this.#loads.shareBatches();
    const loads = new KeyedLoads<K, V, C>(this.#queue, {
      cacheKeyFn: this.#cacheKeyFn,
      entries: this.#cached ? new Map<C, Entry<K, V>>() : undefined,
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

function checkFunction(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') {
    throw new TypeError(`${option} must be a function: ${value as string}`);
  }
}

function validMaxBatchSize({
  batch,
  maxBatchSize = Number.POSITIVE_INFINITY,
}: Pick<DataLoaderOptions<never, never>, 'batch' | 'maxBatchSize'>): number {
  if (batch === false) return 1;
  const whole = Number.isInteger(maxBatchSize) || maxBatchSize === Number.POSITIVE_INFINITY;
  if (!whole || maxBatchSize < 1) throw new TypeError(`maxBatchSize must be a positive number: ${maxBatchSize}`);
  return maxBatchSize;
}

function validLimits({
  maxConcurrentBatches = Number.POSITIVE_INFINITY,
  batchTimeoutMs,
}: Pick<DataLoaderOptions<never, never>, 'maxConcurrentBatches' | 'batchTimeoutMs'>): {
  maxConcurrentBatches: number;
  batchTimeoutMs: number | undefined;
} {
  checkCount('maxConcurrentBatches', maxConcurrentBatches, 1);
  if (batchTimeoutMs !== undefined) checkTimer('batchTimeoutMs', batchTimeoutMs);
  return { maxConcurrentBatches, batchTimeoutMs };
}

function validCacheErrors<K>({
  cacheErrors = true,
}: Pick<DataLoaderOptions<K, never>, 'cacheErrors'>): boolean | ((error: Error, key: K) => boolean) {
  if (typeof cacheErrors === 'boolean' || typeof cacheErrors === 'function') return cacheErrors;
  throw wrongOption('cacheErrors', 'true, false or a function', cacheErrors);
}

function validMissing(missing: Missing = 'undefined'): Missing {
  if (missing === 'undefined' || missing === 'null' || missing === 'error') return missing;
  throw wrongOption('missing', "'undefined', 'null' or 'error'", missing);
}

function validSchedule<K, V, C>(
  options: DataLoaderOptions<K, V, C>,
  loader: DataLoader<K, V, C>,
): Schedule | ScheduleFn {
  const { batchScheduleFn, schedule } = options;
  checkFunction('batchScheduleFn', batchScheduleFn);
  if (batchScheduleFn !== undefined) {
    if (schedule !== undefined) throw wrongOption('schedule', 'absent where batchScheduleFn is given', schedule);
    return (dispatch) => batchScheduleFn.call(loader, dispatch);
  }
  if (schedule !== undefined) checkSchedule(schedule);
  return schedule ?? 'tick';
}

// `null`: no cache; `undefined`: the loader's own.
function validCacheMap<K, V, C>(options: DataLoaderOptions<K, V, C>): CacheMap<C, Promise<V>> | null | undefined {
  const { cache, cacheMap, maxEntries = Number.POSITIVE_INFINITY, ttlMs } = options;
  checkCount('maxEntries', maxEntries, 1);
  if (ttlMs !== undefined) checkDuration('ttlMs', ttlMs);
  if (cache === false || cacheMap === null) return null;
  if (cacheMap === undefined) return undefined;
  const missing = (['get', 'set', 'delete', 'clear'] as const).filter(
    (method) => typeof cacheMap[method] !== 'function',
  );
  if (missing.length > 0) throw new TypeError(`Custom cacheMap missing methods: ${missing.join(', ')}`);
  if (maxEntries !== Number.POSITIVE_INFINITY || ttlMs !== undefined) {
    throw wrongOption('cacheMap', 'absent where maxEntries or ttlMs is given', cacheMap);
  }
  return cacheMap;
}

function ownCache<K, V, C>(
  { maxEntries = Number.POSITIVE_INFINITY, ttlMs = Number.POSITIVE_INFINITY }: DataLoaderOptions<K, V, C>,
  clock: Clock,
): CacheMap<C, Entry<K, V>> {
  const bounded = maxEntries !== Number.POSITIVE_INFINITY || ttlMs !== Number.POSITIVE_INFINITY;
  return bounded ? new BoundedMap<C, Entry<K, V>>(maxEntries, ttlMs, clock) : new Map<C, Entry<K, V>>();
}

function validWeights<K>({
  maxBatchWeight = Number.POSITIVE_INFINITY,
  weightOf,
}: Pick<DataLoaderOptions<K, never>, 'maxBatchWeight' | 'weightOf'>): {
  maxBatchWeight: number;
  weightOf: ((key: K) => number) | undefined;
} {
  if (!(typeof maxBatchWeight === 'number' && maxBatchWeight > 0)) {
    throw wrongOption('maxBatchWeight', 'a number > 0', maxBatchWeight);
  }
  if (weightOf !== undefined && typeof weightOf !== 'function') throw wrongOption('weightOf', 'a function', weightOf);
  if ((maxBatchWeight === Number.POSITIVE_INFINITY) !== (weightOf === undefined)) {
    throw wrongOption('weightOf', 'given together with maxBatchWeight', weightOf);
  }
  return { maxBatchWeight, weightOf };
}

type LoaderCache<K, V> = CacheMap<K, V>;

/** The type names of graphql/dataloader, and what it says they are: code that calls a `BatchLoadFn` itself goes on to compile. */
export declare namespace DataLoader {
  export type Options<K, V, C = K> = DataLoaderOptions<K, V, C>;
  export type BatchLoadFn<K, V> = (keys: ReadonlyArray<K>) => PromiseLike<ArrayLike<V | Error>>;
  export type CacheMap<K, V> = LoaderCache<K, V>;
}
