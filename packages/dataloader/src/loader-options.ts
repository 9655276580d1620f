import type { BatchEvent } from './batch-events.ts';
import type { BatchQueueOptions } from './batch-queue.ts';
import type { Missing } from './batch-results.ts';
import type { BatchContext } from './batch-runner.ts';
import type { CacheMap } from './cache-map.ts';
import { type Clock, systemClock } from './clock.ts';
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

/** The options of a loader, checked, with their defaults. */
export interface CheckedOptions<K, V, C> {
  queue: BatchQueueOptions<K>;
  cacheKeyFn: ((key: K) => C) | undefined;
  /** `null`: no cache; `undefined`: the loader's own. */
  cacheMap: CacheMap<C, Promise<V>> | null | undefined;
  maxEntries: number;
  ttlMs: number;
  orderedHits: boolean;
  dedupe: boolean;
  partition: ((key: K, ctx: unknown) => unknown) | undefined;
}

/** `loader` is the `this` of the functions among the options. */
export function checkOptions<K, V, C>(options: DataLoaderOptions<K, V, C>, loader: object): CheckedOptions<K, V, C> {
  const { cacheKeyFn, partition, onBatch, clock = systemClock } = options;
  checkFunction('cacheKeyFn', cacheKeyFn);
  checkFunction('partition', partition);
  if (onBatch !== undefined && typeof onBatch !== 'function') throw wrongOption('onBatch', 'a function', onBatch);
  checkClock(clock);
  // null is what graphql/dataloader says for a loader without a name.
  if (options.name !== null) checkOptionalString('name', options.name);
  for (const option of ['batch', 'cache', 'orderedHits', 'dedupe'] as const) {
    checkOptionalBoolean(option, options[option]);
  }
  const cacheMap = validCacheMap(options);
  const { orderedHits = true, dedupe = false } = options;
  const { maxEntries = Number.POSITIVE_INFINITY, ttlMs = Number.POSITIVE_INFINITY } = options;
  const boundKeyFn = cacheKeyFn === undefined ? undefined : (key: K) => cacheKeyFn.call(loader, key);
  return {
    queue: {
      name: options.name || null,
      missing: validMissing(options.missing),
      cacheKeyFn: boundKeyFn ?? ((key) => key),
      cacheErrors: validCacheErrors(options),
      maxBatchSize: validMaxBatchSize(options),
      onBatch,
      ...validWeights(options),
      schedule: validSchedule(options, loader),
      clock,
      ...validLimits(options),
    },
    cacheKeyFn: boundKeyFn,
    cacheMap,
    maxEntries,
    ttlMs,
    orderedHits,
    dedupe,
    partition,
  };
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

function validSchedule<K, V, C>(options: DataLoaderOptions<K, V, C>, loader: object): Schedule | ScheduleFn {
  const { batchScheduleFn, schedule } = options;
  checkFunction('batchScheduleFn', batchScheduleFn);
  if (batchScheduleFn !== undefined) {
    if (schedule !== undefined) throw wrongOption('schedule', 'absent where batchScheduleFn is given', schedule);
    return (dispatch) => batchScheduleFn.call(loader, dispatch);
  }
  if (schedule !== undefined) checkSchedule(schedule);
  return schedule ?? 'tick';
}

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
