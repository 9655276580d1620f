import type { BatchEvent } from './batch-events.ts';
import { type Clock, systemClock } from './clock.ts';
import { checkClock, checkCount, checkOptionalString, checkTimer, wrongOption } from './option-checks.ts';

export interface BatcherOptions<Item> {
  /** For messages. Default none. */
  name?: string | undefined;
  /** As soon as so many items wait they are written. Default 100. */
  maxBatchSize?: number | undefined;
  /** A batch is not larger than this, by `bytesOf`; an item that is larger by itself goes alone. Default `Infinity`. */
  maxBatchBytes?: number | undefined;
  /** The size of an item, for `maxBatchBytes`. */
  bytesOf?: ((item: Item) => number) | undefined;
  /** The first item waits at most so long for others. Milliseconds, default 10. */
  windowMs?: number | undefined;
  /** At most so many items wait to be written; when so many do, they are due at once. Default 10,000. */
  maxQueued?: number | undefined;
  /**
   * What becomes of an item when so many wait: `'reject'` refuses it with `ERR_OVERLOADED`, `'wait'` lets it wait behind them.
   * A producer that does not await each result asks `onRoom()` first. Default `'reject'`.
   */
  whenFull?: 'reject' | 'wait' | undefined;
  /** At most so many batches are written at once. Default 1, which keeps the order of items across batches too. */
  maxConcurrentBatches?: number | undefined;
  /** After so long a batch is aborted and its callers get `ERR_TIMEOUT`. Milliseconds, default never. */
  batchTimeoutMs?: number | undefined;
  /** Called with what became of each batch, when it has ended; what it throws is ignored. Default none. */
  onBatch?: ((event: BatchEvent) => void) | undefined;
  /** Default: the process's monotonic clock. */
  clock?: Clock | undefined;
}

/** The options with their defaults. */
export interface BatcherSettings<Item> {
  name: string | undefined;
  maxBatchSize: number;
  maxBatchBytes: number;
  bytesOf: ((item: Item) => number) | undefined;
  windowMs: number;
  maxQueued: number;
  whenFull: 'reject' | 'wait';
  maxConcurrentBatches: number;
  batchTimeoutMs: number | undefined;
  onBatch: ((event: BatchEvent) => void) | undefined;
  clock: Clock;
}

/** Throws for what no batcher can do. */
export function batcherSettings<Item>(options: BatcherOptions<Item>): BatcherSettings<Item> {
  if (typeof options !== 'object' || options === null) throw wrongOption('options', 'an object', options);
  const {
    name,
    maxBatchSize = 100,
    maxBatchBytes,
    bytesOf,
    windowMs = 10,
    maxQueued = 10_000,
    whenFull = 'reject',
    maxConcurrentBatches = 1,
    batchTimeoutMs,
    onBatch,
    clock = systemClock,
  } = options;
  checkOptionalString('name', name);
  checkCount('maxBatchSize', maxBatchSize, 1);
  if (maxBatchBytes !== undefined) checkCount('maxBatchBytes', maxBatchBytes, 1);
  checkCount('maxQueued', maxQueued, 1);
  checkCount('maxConcurrentBatches', maxConcurrentBatches, 1);
  checkTimer('windowMs', windowMs);
  if (batchTimeoutMs !== undefined) checkTimer('batchTimeoutMs', batchTimeoutMs);
  checkClock(clock);
  if (whenFull !== 'reject' && whenFull !== 'wait') throw wrongOption('whenFull', "'reject' or 'wait'", whenFull);
  if (onBatch !== undefined && typeof onBatch !== 'function') throw wrongOption('onBatch', 'a function', onBatch);
  if (bytesOf !== undefined && typeof bytesOf !== 'function') throw wrongOption('bytesOf', 'a function', bytesOf);
  if ((bytesOf === undefined) !== (maxBatchBytes === undefined)) {
    throw wrongOption('bytesOf', 'given together with maxBatchBytes', bytesOf);
  }
  return {
    name,
    maxBatchSize,
    maxBatchBytes: maxBatchBytes ?? Number.POSITIVE_INFINITY,
    bytesOf,
    windowMs,
    maxQueued,
    whenFull,
    maxConcurrentBatches,
    batchTimeoutMs,
    onBatch,
    clock,
  };
}
