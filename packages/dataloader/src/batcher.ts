import { AsyncResource } from 'node:async_hooks';
import { type BatchEvent, endChannel, joinChannel, newBatchEvent, publishEnd, startChannel } from './batch-events.ts';
import { isArrayLike, isError } from './batch-results.ts';
import { type Clock, systemClock } from './clock.ts';
import { BatcherClosedError, BatchResultError, BatchTimeoutError, QueueFullError } from './errors.ts';
import { ItemQueue } from './item-queue.ts';
import { checkClock, checkCount, checkOptionalString, checkTimer, wrongOption } from './option-checks.ts';

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
  /** At most so many items wait to be written. Default 10,000. */
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

export interface BatcherStats {
  /** Items taken; each is written, failed or aborted in the end, and until then queued, waiting or being written. */
  submitted: number;
  written: number;
  failed: number;
  /** Items that were not written, or whose writing was given up, because their callers left. */
  aborted: number;
  batches: number;
  /** The most items that a batch has had. */
  largestBatch: number;
  /** Items that wait to be written, and those behind them that wait for room (`whenFull: 'wait'`). */
  queued: number;
  waiting: number;
  runningBatches: number;
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
  /** The caller's async context, kept only where somebody listens to who joins a batch. */
  context: AsyncResource | undefined;
}

interface RunningBatch<T, Result> {
  items: Item<T, Result>[];
  controller: AbortController;
  timer: unknown;
  /** Its callers have their answers, or nobody waits for one any more. */
  ended: boolean;
  event: BatchEvent | undefined;
  startedAt: number;
}

/**
 * Turns many single writes into few: no cache, no item twice, a result for each. An item is written in a batch with
 * those before and after it, when enough are there, or `windowMs` after the first, or at `flush()` and `close()`.
 */
export class Batcher<T, Result = void> {
  readonly #write: BatchWriteFn<T, Result>;
  readonly #options: BatcherOptions<T>;
  readonly #windowMs: number;
  readonly #maxQueued: number;
  readonly #maxConcurrent: number;
  readonly #clock: Clock;
  readonly #resource = new AsyncResource('Batcher');
  readonly #queue: ItemQueue<Item<T, Result>>;
  #timer: unknown;
  #running = 0;
  #closed = false;
  #idle: (() => void)[] = [];
  readonly #roomWanted = new Set<() => void>();
  #roomPromised = 0;
  #submitted = 0;
  #aborted = 0;
  #largestBatch = 0;
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
    checkTimer('windowMs', windowMs);
    checkOptionalString('name', options.name);
    checkClock(clock);
    const { whenFull = 'reject', onBatch } = options;
    if (whenFull !== 'reject' && whenFull !== 'wait') throw wrongOption('whenFull', "'reject' or 'wait'", whenFull);
    if (onBatch !== undefined && typeof onBatch !== 'function') throw wrongOption('onBatch', 'a function', onBatch);
    if (bytesOf !== undefined && typeof bytesOf !== 'function') throw wrongOption('bytesOf', 'a function', bytesOf);
    if (batchTimeoutMs !== undefined) checkTimer('batchTimeoutMs', batchTimeoutMs);
    if ((bytesOf === undefined) !== (options.maxBatchBytes === undefined)) {
      throw wrongOption('bytesOf', 'given together with maxBatchBytes', bytesOf);
    }
    this.#write = batchFn;
    this.#options = options;
    this.#queue = new ItemQueue(maxBatchSize, maxBatchBytes);
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
    if (this.#queue.length >= this.#maxQueued && this.#options.whenFull !== 'wait') {
      return Promise.reject(new QueueFullError(`${this.#label()}: ${this.#maxQueued} items wait already`));
    }
    let bytes = 0;
    try {
      bytes = this.#bytesOf(item);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#submitted += 1;
    if (this.#roomPromised > 0) this.#roomPromised -= 1;
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
        context: joinChannel.hasSubscribers ? new AsyncResource('BatcherItem') : undefined,
      };
      if (signal !== undefined) {
        queued.onAbort = () => this.#leave(queued, signal.reason);
        signal.addEventListener('abort', queued.onAbort, { once: true });
      }
      this.#queue.push(queued);
      this.#pump();
    });
  }

  /**
   * Resolves when the queue has room. Of those who ask, as many are told as there is room, in order of asking; submit in the
   * same turn. Rejects with `signal.reason`, and with `ERR_CLOSED` once the batcher is closed.
   */
  onRoom({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed) return Promise.reject(new BatcherClosedError(`${this.#label()} is closed`));
    return new Promise<void>((resolve, reject) => {
      const tell = () => {
        this.#roomWanted.delete(tell);
        signal?.removeEventListener('abort', tell);
        if (signal?.aborted) reject(signal.reason);
        else if (this.#closed) reject(new BatcherClosedError(`${this.#label()} is closed`));
        else resolve();
      };
      this.#roomWanted.add(tell);
      signal?.addEventListener('abort', tell, { once: true });
      this.#tellOfRoom();
    });
  }

  /** Writes what waits now, without waiting for more; resolves when nothing waits or is being written any more. */
  flush(): Promise<void> {
    this.#queue.flush();
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
    if (timeoutMs !== undefined) checkTimer('timeoutMs', timeoutMs);
    this.#closed = true;
    for (const tell of this.#roomWanted) tell();
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
      aborted: this.#aborted,
      batches: this.#batches,
      largestBatch: this.#largestBatch,
      queued: Math.min(this.#queue.length, this.#maxQueued),
      waiting: Math.max(0, this.#queue.length - this.#maxQueued),
      runningBatches: this.#running,
    };
  }

  #pump(): void {
    while (this.#running < this.#maxConcurrent) {
      const items = this.#queue.takeDue();
      if (items === undefined) break;
      void this.#run(items);
    }
    if (this.#queue.length === 0) this.#stopTimer();
    else if (this.#timer === undefined && this.#queue.hasUnflushed) this.#startTimer();
    this.#tellOfRoom();
    if (this.#queue.length === 0 && this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  // Those who have been told submit in promise callbacks of this turn: until then their room is not given to others.
  #tellOfRoom(): void {
    for (const tell of this.#roomWanted) {
      if (this.#queue.length + this.#roomPromised >= this.#maxQueued) return;
      if (this.#roomPromised === 0) {
        setImmediate(() => {
          this.#roomPromised = 0;
          this.#tellOfRoom();
        });
      }
      this.#roomPromised += 1;
      tell();
    }
  }

  #bytesOf(item: T): number {
    const { bytesOf } = this.#options;
    if (bytesOf === undefined) return 0;
    const bytes = bytesOf(item);
    if (Number.isFinite(bytes) && bytes >= 0) return bytes;
    throw wrongOption('bytesOf(item)', 'a finite number >= 0', bytes);
  }

  #startTimer(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined;
      this.#queue.flush();
      this.#pump();
    }, this.#windowMs);
  }

  #stopTimer(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #run(items: Item<T, Result>[]): Promise<void> {
    this.#running += 1;
    this.#batches += 1;
    this.#largestBatch = Math.max(this.#largestBatch, items.length);
    const batch: RunningBatch<T, Result> = {
      items,
      controller: new AbortController(),
      timer: undefined,
      ended: false,
      event: undefined,
      startedAt: 0,
    };
    this.#watch(batch);
    this.#startTimeout(batch);
    for (const item of items) item.batch = batch;
    try {
      const results = await this.#resource.runInAsyncScope(this.#call, this, batch);
      this.#end(batch, this.#checked(results, items.length), undefined);
    } catch (error) {
      this.#end(batch, undefined, error);
    } finally {
      this.#running -= 1;
      this.#pump();
    }
  }

  #call(batch: RunningBatch<T, Result>): ReturnType<BatchWriteFn<T, Result>> {
    const items = Object.freeze(batch.items.map(({ item }) => item));
    const { signal } = batch.controller;
    if (batch.event === undefined || !startChannel.hasSubscribers) return this.#write(items, { signal });
    return startChannel.runStores(batch.event, () => this.#write(items, { signal })) as ReturnType<
      BatchWriteFn<T, Result>
    >;
  }

  #end(batch: RunningBatch<T, Result>, results: ArrayLike<unknown> | undefined, error: unknown): void {
    if (batch.ended) return;
    batch.ended = true;
    if (batch.timer !== undefined) this.#clock.clearTimeout(batch.timer);
    // Told to stop because nobody waits any more, it stopped: all have their answer, and nothing has failed.
    const aborted = results === undefined && batch.controller.signal.aborted;
    if (batch.event !== undefined) {
      batch.event.runMs = this.#clock.now() - batch.startedAt;
      batch.event.outcome = aborted ? 'aborted' : results === undefined ? 'failure' : 'success';
      if (!aborted) batch.event.error = error;
      publishEnd(batch.event, this.#options.onBatch);
    }
    if (aborted) this.#aborted += batch.items.length;
    else if (results === undefined) for (const item of batch.items) this.#settle(item, true, error);
    else batch.items.forEach((item, i) => void this.#settle(item, isError(results[i]), results[i]));
  }

  #watch(batch: RunningBatch<T, Result>): void {
    if (this.#options.onBatch === undefined && !startChannel.hasSubscribers && !endChannel.hasSubscribers) return;
    batch.event = newBatchEvent('write', this.#options.name ?? null, undefined);
    batch.event.size = batch.items.length;
    batch.startedAt = this.#clock.now();
    for (const { item: key, context } of batch.items) {
      context?.runInAsyncScope(() => joinChannel.publish({ key, batch: batch.event }));
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
    if (this.#queue.remove(item)) {
      this.#aborted += 1;
      this.#pump();
    }
    item.reject(reason);
    const { batch } = item;
    // Somebody who brought no signal never leaves, and the batch is finished for them.
    if (batch === undefined || batch.ended || !batch.items.every(({ left }) => left)) return;
    if (batch.timer !== undefined) this.#clock.clearTimeout(batch.timer);
    batch.controller.abort(reason);
  }

  #startTimeout(batch: RunningBatch<T, Result>): void {
    const { batchTimeoutMs } = this.#options;
    if (batchTimeoutMs === undefined) return;
    batch.timer = this.#clock.setTimeout(() => {
      const error = new BatchTimeoutError(this.#label(), batchTimeoutMs);
      this.#end(batch, undefined, error);
      batch.controller.abort(error);
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
