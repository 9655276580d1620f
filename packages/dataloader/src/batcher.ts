import { AsyncResource } from 'node:async_hooks';
import { isArrayLike, isError } from './batch-results.ts';
import { type Clock, systemClock } from './clock.ts';
import { BatcherClosedError, BatchResultError, BatchTimeoutError, QueueFullError } from './errors.ts';
import { checkClock, checkCount, checkDuration, checkOptionalString, wrongOption } from './option-checks.ts';

/** Writes items: a result or an Error for each, in their order, or nothing if there is nothing to tell. A rejection fails all of them. */
export type BatchWriteFn<Item, Result> = (
  items: readonly Item[],
  context: { readonly signal: AbortSignal },
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that only writes returns nothing
) => PromiseLike<ArrayLike<Result | Error> | void>;

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
  /** At most so many items wait to be written; further ones are refused with `ERR_OVERLOADED`. Default 10,000. */
  maxQueued?: number | undefined;
  /** At most so many batches are written at once. Default 1, which keeps the order of items across batches too. */
  maxConcurrentBatches?: number | undefined;
  /** After so long a batch is aborted and its callers get `ERR_TIMEOUT`. Milliseconds, default never. */
  batchTimeoutMs?: number | undefined;
  /** Default: the process's monotonic clock. */
  clock?: Clock | undefined;
}

export interface BatcherStats {
  submitted: number;
  written: number;
  failed: number;
  batches: number;
  queued: number;
}

interface Item<T, Result> {
  item: T;
  bytes: number;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
  signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;
  left: boolean;
  /** What it is being written with. */
  batch: RunningBatch<T, Result> | undefined;
}

interface RunningBatch<T, Result> {
  items: Item<T, Result>[];
  controller: AbortController;
  timer: unknown;
}

/**
 * Turns many single writes into few: no cache, no item twice, a result for each. An item is written in a batch with
 * those before and after it, when enough are there, or `windowMs` after the first, or at `flush()` and `close()`.
 */
export class Batcher<T, Result = void> {
  readonly #write: BatchWriteFn<T, Result>;
  readonly #options: BatcherOptions<T>;
  readonly #maxBatchSize: number;
  readonly #maxBatchBytes: number;
  readonly #windowMs: number;
  readonly #maxQueued: number;
  readonly #maxConcurrent: number;
  readonly #clock: Clock;
  readonly #resource = new AsyncResource('Batcher');
  #queue: Item<T, Result>[] = [];
  /** How many at the head of the queue have waited long enough; those behind them go along. */
  #flushed = 0;
  #timer: unknown;
  #running = 0;
  #closed = false;
  #idle: (() => void)[] = [];
  #submitted = 0;
  #written = 0;
  #failed = 0;
  #batches = 0;

  constructor(batchFn: BatchWriteFn<T, Result>, options: BatcherOptions<T> = {}) {
    if (typeof batchFn !== 'function') throw wrongOption('batchFn', 'a function', batchFn);
    const { maxBatchSize = 100, maxBatchBytes = Number.POSITIVE_INFINITY, bytesOf, windowMs = 10 } = options;
    const { maxQueued = 10_000, maxConcurrentBatches = 1, batchTimeoutMs, clock = systemClock } = options;
    checkCount('maxBatchSize', maxBatchSize, 1);
    checkCount('maxBatchBytes', maxBatchBytes, 1);
    checkCount('maxQueued', maxQueued, 1);
    checkCount('maxConcurrentBatches', maxConcurrentBatches, 1);
    checkDuration('windowMs', windowMs);
    checkOptionalString('name', options.name);
    checkClock(clock);
    if (bytesOf !== undefined && typeof bytesOf !== 'function') throw wrongOption('bytesOf', 'a function', bytesOf);
    if (batchTimeoutMs !== undefined) checkDuration('batchTimeoutMs', batchTimeoutMs);
    if ((bytesOf === undefined) !== (options.maxBatchBytes === undefined)) {
      throw wrongOption('bytesOf', 'given together with maxBatchBytes', bytesOf);
    }
    this.#write = batchFn;
    this.#options = options;
    this.#maxBatchSize = maxBatchSize;
    this.#maxBatchBytes = maxBatchBytes;
    this.#windowMs = windowMs;
    this.#maxQueued = maxQueued;
    this.#maxConcurrent = maxConcurrentBatches;
    this.#clock = clock;
  }

  /**
   * The result of writing `item`. With a `signal` that aborts the caller's wait ends at once: an item that still waits is
   * not written then; one that is being written is finished, unless all callers of its batch have gone.
   */
  submit(item: T, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Result> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed) return Promise.reject(new BatcherClosedError(`${this.#label()} is closed`));
    if (this.#queue.length >= this.#maxQueued) {
      return Promise.reject(new QueueFullError(`${this.#label()}: ${this.#maxQueued} items wait already`));
    }
    const bytes = this.#options.bytesOf?.(item) ?? 0;
    this.#submitted += 1;
    return new Promise<Result>((resolve, reject) => {
      const queued: Item<T, Result> = {
        item,
        bytes,
        resolve,
        reject,
        signal,
        onAbort: undefined,
        left: false,
        batch: undefined,
      };
      if (signal !== undefined) {
        queued.onAbort = () => this.#leave(queued, signal.reason);
        signal.addEventListener('abort', queued.onAbort, { once: true });
      }
      this.#queue.push(queued);
      this.#pump();
    });
  }

  /** Writes what waits now, without waiting for more; resolves when nothing waits or is being written any more. */
  flush(): Promise<void> {
    this.#flushed = this.#queue.length;
    this.#pump();
    return this.onIdle();
  }

  /** Resolves when nothing waits and nothing is being written. */
  onIdle(): Promise<void> {
    if (this.#queue.length === 0 && this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Takes no more items, writes those that wait, and resolves when all is written, or with `timeoutMs` after that long at the latest. */
  async close({ timeoutMs }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed = true;
    const flushed = this.flush();
    if (timeoutMs === undefined) return flushed;
    let timer: unknown;
    const expired = new Promise<void>((resolve) => {
      timer = this.#clock.setTimeout(resolve, timeoutMs);
    });
    await Promise.race([flushed, expired]);
    this.#clock.clearTimeout(timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  stats(): BatcherStats {
    return {
      submitted: this.#submitted,
      written: this.#written,
      failed: this.#failed,
      batches: this.#batches,
      queued: this.#queue.length,
    };
  }

  #pump(): void {
    while (this.#running < this.#maxConcurrent) {
      const size = this.#nextBatchSize();
      if (size === 0) break;
      this.#flushed = Math.max(0, this.#flushed - size);
      void this.#run(this.#queue.splice(0, size));
    }
    if (this.#queue.length === 0) this.#stopTimer();
    else if (this.#timer === undefined && this.#flushed < this.#queue.length) this.#startTimer();
    if (this.#queue.length === 0 && this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  // How many from the head make a batch that is to be written now: a full one, or what has been flushed.
  #nextBatchSize(): number {
    let bytes = 0;
    let size = 0;
    for (const { bytes: more } of this.#queue) {
      if (size === this.#maxBatchSize) return size;
      bytes += more;
      if (size > 0 && bytes > this.#maxBatchBytes) return size;
      size += 1;
    }
    const now = size === this.#maxBatchSize || bytes >= this.#maxBatchBytes || this.#flushed > 0;
    return now ? size : 0;
  }

  #startTimer(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined;
      this.#flushed = this.#queue.length;
      this.#pump();
    }, this.#windowMs);
  }

  #stopTimer(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #run(batch: Item<T, Result>[]): Promise<void> {
    this.#running += 1;
    this.#batches += 1;
    const controller = new AbortController();
    let ended = false;
    const end = (results: ArrayLike<unknown> | undefined, error?: unknown) => {
      if (ended) return;
      ended = true;
      if (timer !== undefined) this.#clock.clearTimeout(timer);
      // Told to stop because nobody waits any more, it stopped: all have their answer, and nothing has failed.
      if (results === undefined && controller.signal.aborted) return;
      batch.forEach((item, i) => {
        if (results === undefined) this.#settle(item, true, error);
        else this.#settle(item, isError(results[i]), results[i]);
      });
    };
    const timer = this.#startTimeout(controller, end);
    const running = { items: batch, controller, timer };
    for (const item of batch) item.batch = running;
    try {
      const items = Object.freeze(batch.map(({ item }) => item));
      const { signal } = controller;
      const results = await this.#resource.runInAsyncScope(this.#write, undefined, items, { signal });
      end(this.#checked(results, batch.length));
    } catch (error) {
      end(undefined, error);
    } finally {
      this.#running -= 1;
      this.#pump();
    }
  }

  #settle({ resolve, reject, signal, onAbort }: Item<T, Result>, failed: boolean, result: unknown): void {
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    if (failed) {
      this.#failed += 1;
      reject(result);
    } else {
      this.#written += 1;
      resolve(result as Result);
    }
  }

  #leave(item: Item<T, Result>, reason: unknown): void {
    item.left = true;
    const at = this.#queue.indexOf(item);
    if (at >= 0) {
      this.#queue.splice(at, 1);
      if (at < this.#flushed) this.#flushed -= 1;
      this.#pump();
    }
    item.reject(reason);
    // Somebody who brought no signal never leaves, and the batch is finished for them.
    if (!item.batch?.items.every(({ left }) => left)) return;
    if (item.batch.timer !== undefined) this.#clock.clearTimeout(item.batch.timer);
    item.batch.controller.abort(reason);
  }

  #startTimeout(controller: AbortController, end: (results: undefined, error: unknown) => void): unknown {
    const { batchTimeoutMs } = this.#options;
    if (batchTimeoutMs === undefined) return undefined;
    return this.#clock.setTimeout(() => {
      const error = new BatchTimeoutError(this.#label(), batchTimeoutMs);
      end(undefined, error);
      controller.abort(error);
    }, batchTimeoutMs);
  }

  #checked(results: unknown, length: number): ArrayLike<unknown> {
    if (results === undefined) return new Array(length);
    if (!isArrayLike(results)) {
      throw new BatchResultError(
        `${this.#label()}: the batch function must resolve to an array or nothing, got ${String(results)}`,
        length,
      );
    }
    if (results.length !== length) {
      throw new BatchResultError(
        `${this.#label()}: the batch function gave ${results.length} results for ${length} items`,
        length,
        results.length,
      );
    }
    return results;
  }

  #label(): string {
    return this.#options.name === undefined ? 'Batcher' : `Batcher "${this.#options.name}"`;
  }
}
