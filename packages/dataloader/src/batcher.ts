import { AsyncResource } from 'node:async_hooks';
import { anyoneListens, joinChannel } from './batch-events.ts';
import { BatchItem } from './batch-item.ts';
import { type BatcherOptions, type BatcherSettings, batcherSettings } from './batcher-options.ts';
import { BatcherClosedError, QueueFullError } from './errors.ts';
import { ItemQueue } from './item-queue.ts';
import { checkTimer, wrongOption } from './option-checks.ts';
import { Room } from './room.ts';
import { type BatchWriteFn, WriteBatch, type Writer } from './write-batch.ts';

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

/**
 * Turns many single writes into few: no cache, no item twice, a result for each. An item is written in a batch with
 * those before and after it, when enough are there, when the queue is full, or `windowMs` after the first, or at `flush()` and `close()`.
 */
export class Batcher<T, Result = void> {
  readonly #settings: BatcherSettings<T>;
  readonly #writer: Writer<T, Result>;
  readonly #queue: ItemQueue<BatchItem<T, Result>>;
  readonly #running = new Set<WriteBatch<T, Result>>();
  readonly #room: Room;
  readonly #counts = { submitted: 0, written: 0, failed: 0, aborted: 0, batches: 0, largestBatch: 0 };
  #timer: unknown;
  #closed = false;
  #idle: (() => void)[] = [];
  /** Who waits until nothing up to a place waits or is being written. */
  #flushes: { place: number; resolve: () => void }[] = [];

  /** @param batchFn is called in the async context in which the batcher is made. It must not await a `submit` to its own batcher, whose turn may come only after it. */
  constructor(batchFn: BatchWriteFn<T, Result>, options: BatcherOptions<T> = {}) {
    if (typeof batchFn !== 'function') throw wrongOption('batchFn', 'a function', batchFn);
    const settings = batcherSettings(options);
    const { name, maxBatchSize, maxBatchBytes, maxQueued, batchTimeoutMs, onBatch, clock } = settings;
    this.#settings = settings;
    this.#writer = {
      write: batchFn,
      resource: new AsyncResource('Batcher'),
      name,
      label: name === undefined ? 'Batcher' : `Batcher "${name}"`,
      batchTimeoutMs,
      onBatch,
      clock,
      counts: this.#counts,
    };
    this.#queue = new ItemQueue(maxBatchSize, maxBatchBytes);
    this.#room = new Room(() => maxQueued - this.#queue.length);
  }

  /**
   * The result of writing `item`. With a `signal` that aborts the caller's wait ends at once: an item that still waits is
   * not written then; one that is being written is finished, unless all callers of its batch have gone.
   */
  submit(item: T, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Result> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed) return Promise.reject(this.#closedError());
    const { maxQueued, whenFull } = this.#settings;
    if (this.#queue.length >= maxQueued && whenFull === 'reject') {
      return Promise.reject(new QueueFullError(`${this.#writer.label}: ${maxQueued} items wait already`));
    }
    let bytes = 0;
    try {
      bytes = this.#bytesOf(item);
    } catch (error) {
      return Promise.reject(error);
    }
    return new Promise<Result>((resolve, reject) => {
      const queued = new BatchItem(item, bytes, resolve, reject, this.#watched());
      if (signal !== undefined) queued.watch(signal, this.#leave);
      this.#counts.submitted += 1;
      this.#room.taken();
      this.#queue.push(queued);
      // Nobody else may come: nothing is gained by waiting.
      if (this.#queue.length >= maxQueued) this.#queue.flush();
      this.#pump();
    });
  }

  /**
   * Resolves when the queue has room. Of those who ask, as many are told as there is room, in order of asking; submit in the
   * same turn. Rejects with `signal.reason`, and with `ERR_CLOSED` once the batcher is closed.
   */
  onRoom({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed) return Promise.reject(this.#closedError());
    return this.#room.wait(signal, () => (this.#closed ? this.#closedError() : undefined));
  }

  /** Writes what waits now, without waiting for more; resolves when that, and what was being written, has been written or has failed. */
  flush(): Promise<void> {
    this.#queue.flush();
    const place = this.#queue.lastPlace;
    this.#pump();
    if (this.#oldestPlace() > place) return Promise.resolve();
    return new Promise((resolve) => this.#flushes.push({ place, resolve }));
  }

  /** Resolves when nothing waits and nothing is being written. */
  onIdle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Takes no more items, writes those that wait, and resolves when all is written, or with `timeoutMs` after that long at the latest. */
  async close({ timeoutMs }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    if (timeoutMs !== undefined) checkTimer('timeoutMs', timeoutMs);
    this.#closed = true;
    this.#room.refuseAll();
    const flushed = this.flush();
    if (timeoutMs === undefined) return flushed;
    const { clock } = this.#settings;
    let timer: unknown;
    const expired = new Promise<void>((resolve) => {
      timer = clock.setTimeout(resolve, timeoutMs);
    });
    await Promise.race([flushed, expired]);
    clock.clearTimeout(timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  stats(): BatcherStats {
    const { maxQueued } = this.#settings;
    return {
      ...this.#counts,
      queued: Math.min(this.#queue.length, maxQueued),
      waiting: Math.max(0, this.#queue.length - maxQueued),
      runningBatches: this.#running.size,
    };
  }

  #pump(): void {
    while (this.#running.size < this.#settings.maxConcurrentBatches) {
      const items = this.#queue.takeDue();
      if (items === undefined) break;
      void this.#write(items);
    }
    if (this.#queue.length === 0) this.#stopTimer();
    else if (this.#timer === undefined && this.#queue.hasUnflushed) this.#startTimer();
    this.#room.tell();
    this.#tellFlushed();
    if (this.#isIdle()) for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #write(items: BatchItem<T, Result>[]): Promise<void> {
    const batch = new WriteBatch(items, this.#writer);
    this.#running.add(batch);
    this.#counts.batches += 1;
    this.#counts.largestBatch = Math.max(this.#counts.largestBatch, items.length);
    await batch.run();
    this.#running.delete(batch);
    this.#pump();
  }

  readonly #leave = (item: BatchItem<T, Result>, reason: unknown): void => {
    item.reject(reason);
    item.batch?.leave(reason);
    if (!this.#queue.remove(item)) return;
    this.#counts.aborted += 1;
    this.#pump();
  };

  #isIdle(): boolean {
    return this.#queue.length === 0 && this.#running.size === 0;
  }

  /** Of the items that wait or are being written the one that came first. */
  #oldestPlace(): number {
    let oldest = this.#queue.firstPlace ?? Number.POSITIVE_INFINITY;
    for (const { items } of this.#running) oldest = Math.min(oldest, items[0]?.place ?? oldest);
    return oldest;
  }

  #tellFlushed(): void {
    if (this.#flushes.length === 0) return;
    const oldest = this.#oldestPlace();
    // The places of flushes only grow.
    while (this.#flushes[0] !== undefined && this.#flushes[0].place < oldest) this.#flushes.shift()?.resolve();
  }

  #bytesOf(item: T): number {
    const { bytesOf } = this.#settings;
    if (bytesOf === undefined) return 0;
    const bytes = bytesOf(item);
    if (Number.isFinite(bytes) && bytes >= 0) return bytes;
    throw wrongOption('bytesOf(item)', 'a finite number >= 0', bytes);
  }

  #watched(): BatchItem<T, Result>['watched'] {
    const { onBatch, clock } = this.#settings;
    if (!anyoneListens(onBatch)) return undefined;
    const context = joinChannel.hasSubscribers ? new AsyncResource('BatcherItem') : undefined;
    return { submittedAt: clock.now(), context };
  }

  #startTimer(): void {
    const { clock, windowMs } = this.#settings;
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      this.#queue.flush();
      this.#pump();
    }, windowMs);
  }

  #stopTimer(): void {
    if (this.#timer !== undefined) this.#settings.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #closedError(): Error {
    return new BatcherClosedError(`${this.#writer.label} is closed`);
  }
}
