export { type BatchEvent, channelNames, type JoinEvent } from './batch-events.ts';
export type { Missing } from './batch-results.ts';
export type { BatchContext } from './batch-runner.ts';
export { Batcher, type BatcherStats } from './batcher.ts';
export type { BatcherOptions } from './batcher-options.ts';
export type { CacheMap } from './cache-map.ts';
export type { Clock } from './clock.ts';
export { createLoaders, type LoaderSet, type LoaderViews, type SharedLoaders } from './create-loaders.ts';
export {
  type BatchLoadFn,
  DataLoader,
  DataLoader as default,
  type DataLoaderOptions,
  type LoaderStats,
} from './data-loader.ts';
export { BatcherClosedError, BatchResultError, BatchTimeoutError, MissingKeyError, QueueFullError } from './errors.ts';
export type { LoadOptions } from './keyed-loads.ts';
export type { Loader } from './loader-view.ts';
export type { Schedule } from './schedule.ts';
export { type ItemError, type ValidatedBatch, type Validator, validateBatch } from './validate-batch.ts';
export type { BatchWriteFn } from './write-batch.ts';
