import type { AsyncResource } from 'node:async_hooks';
import {
  anyoneListens,
  type BatchEvent,
  joinChannel,
  newBatchEvent,
  publishEnd,
  startChannel,
} from './batch-events.ts';
import type { BatchItem } from './batch-item.ts';
import { isArrayLike, isError, textOf } from './batch-results.ts';
import type { Clock } from './clock.ts';
import { BatchResultError, BatchTimeoutError } from './errors.ts';

/**
 * Writes items: a result or an Error for each, in their order, or nothing if there is nothing to tell. A rejection fails all
 * of them. The list is frozen, so that sorting it is an error before anything is written; the items are the callers' own.
 */
export type BatchWriteFn<Item, Result> = (
  items: readonly Item[],
  context: { readonly signal: AbortSignal },
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that only writes returns nothing
) => PromiseLike<ArrayLike<Result | Error> | void>;

/** What the batches of one batcher have in common. */
export interface Writer<T, Result> {
  readonly write: BatchWriteFn<T, Result>;
  /** The async context in which the batcher was made. */
  readonly resource: AsyncResource;
  readonly name: string | undefined;
  /** How messages call the batcher. */
  readonly label: string;
  readonly batchTimeoutMs: number | undefined;
  readonly onBatch: ((event: BatchEvent) => void) | undefined;
  readonly clock: Clock;
  readonly counts: WriteCounts;
}

/** What became of items, counted as their batches end. */
interface WriteCounts {
  written: number;
  failed: number;
  aborted: number;
}

/** Items that are being written together, and who waits for them. */
export class WriteBatch<T, Result> {
  readonly items: readonly BatchItem<T, Result>[];
  readonly #writer: Writer<T, Result>;
  readonly #controller = new AbortController();
  /** How many callers wait for it still. Somebody who brought no signal never leaves. */
  #waiters: number;
  /** Its callers have their answers. */
  #ended = false;
  #timer: unknown;
  #event: BatchEvent | undefined;
  #startedAt = 0;

  constructor(items: readonly BatchItem<T, Result>[], writer: Writer<T, Result>) {
    this.items = items;
    this.#waiters = items.length;
    this.#writer = writer;
    for (const item of items) item.batch = this;
  }

  /** Calls the batch function, gives each item its result, and resolves when the function has settled. */
  async run(): Promise<void> {
    this.#watch();
    this.#startTimeout();
    try {
      const results = await this.#writer.resource.runInAsyncScope(this.#call, this);
      this.#succeed(resultsInOrder(results, this.items.length, this.#writer.label));
    } catch (error) {
      if (this.#controller.signal.aborted) this.#abandoned();
      else this.#fail(error);
    }
  }

  /** One of its callers has gone. The last one ends the batch: it is told to stop. */
  leave(reason: unknown): void {
    this.#waiters -= 1;
    if (this.#waiters > 0 || this.#ended) return;
    this.#stopTimeout();
    this.#controller.abort(reason);
  }

  #call(): ReturnType<BatchWriteFn<T, Result>> {
    const { write } = this.#writer;
    const items = Object.freeze(this.items.map(({ item }) => item));
    const { signal } = this.#controller;
    if (this.#event === undefined || !startChannel.hasSubscribers) return write(items, { signal });
    return startChannel.runStores(this.#event, () => write(items, { signal })) as ReturnType<BatchWriteFn<T, Result>>;
  }

  #succeed(results: readonly unknown[] | undefined): void {
    // Before anybody is told: a result that cannot be looked at (a proxy that has been revoked) fails the batch.
    const failures = results?.map(isError);
    if (!this.#end('success', undefined)) return;
    const { counts } = this.#writer;
    for (const [i, item] of this.items.entries()) {
      const result = results?.[i];
      const failed = failures?.[i] === true;
      if (failed) counts.failed += 1;
      else counts.written += 1;
      item.settle(failed, result);
    }
  }

  #fail(error: unknown): void {
    if (!this.#end('failure', error)) return;
    this.#writer.counts.failed += this.items.length;
    for (const item of this.items) item.settle(true, error);
  }

  // Told to stop because nobody waits any more, it stopped: all have their answer, and nothing has failed.
  #abandoned(): void {
    if (this.#end('aborted', undefined)) this.#writer.counts.aborted += this.items.length;
  }

  /** Whether it had not ended before: what ends after its time-out has been told of. */
  #end(outcome: 'success' | 'failure' | 'aborted', error: unknown): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#stopTimeout();
    if (this.#event === undefined) return true;
    this.#event.runMs = this.#writer.clock.now() - this.#startedAt;
    this.#event.outcome = outcome;
    this.#event.error = error;
    publishEnd(this.#event, this.#writer.onBatch);
    return true;
  }

  #watch(): void {
    const { onBatch, name, clock } = this.#writer;
    if (!anyoneListens(onBatch)) return;
    const event = newBatchEvent('write', name ?? null, undefined);
    event.size = this.items.length;
    this.#event = event;
    this.#startedAt = clock.now();
    event.waitMs = this.#startedAt - (this.items[0]?.watched?.submittedAt ?? this.#startedAt);
    for (const { item: key, watched } of this.items) {
      watched?.context?.runInAsyncScope(() => joinChannel.publish({ key, batch: event }));
    }
  }

  #startTimeout(): void {
    const { batchTimeoutMs, clock, label } = this.#writer;
    if (batchTimeoutMs === undefined) return;
    this.#timer = clock.setTimeout(() => {
      const error = new BatchTimeoutError(label, batchTimeoutMs);
      this.#fail(error);
      this.#controller.abort(error);
    }, batchTimeoutMs);
  }

  #stopTimeout(): void {
    if (this.#timer !== undefined) this.#writer.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** A result for each item, or `undefined` where the batch function has none to give; throws if they cannot be told apart. */
function resultsInOrder(results: unknown, length: number, label: string): readonly unknown[] | undefined {
  if (results === undefined) return undefined;
  if (!Array.isArray(results) && !isArrayLike(results)) {
    throw new BatchResultError(
      `${label}: the batch function must resolve to an array or nothing, got ${textOf(results)}`,
      length,
    );
  }
  if (results.length !== length) {
    throw new BatchResultError(
      `${label}: the batch function gave ${results.length} results for ${length} items`,
      length,
      results.length,
    );
  }
  const inOrder: unknown[] = [];
  for (let i = 0; i < length; i += 1) {
    const result = results[i];
    if (result === undefined && !(i in results)) {
      throw new BatchResultError(`${label}: the batch function gave a sparse array: no result at ${i}`, length, length);
    }
    inOrder.push(result);
  }
  return inOrder;
}
