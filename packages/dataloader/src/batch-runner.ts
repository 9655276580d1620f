import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import type { Batch } from './batch.ts';
import { type BatchEvent, endChannel, newBatchEvent, publishEnd, startChannel } from './batch-events.ts';
import { brokenCall, hasError, isError, type Missing, textOf, valuesInOrder } from './batch-results.ts';
import type { Clock } from './clock.ts';
import { type Entry, fail, succeed } from './entry.ts';
import { BatchTimeoutError } from './errors.ts';

/** What the batch function gets beside the keys. */
export interface BatchContext {
  /** Aborts when nobody waits for the batch any more, or its time is up. */
  readonly signal: AbortSignal;
  /** What `partition` gave for the keys of this batch. */
  readonly partition: unknown;
}

export interface BatchRunnerOptions<K> {
  name: string | null;
  missing: Missing;
  cacheKeyFn: (key: K) => unknown;
  cacheErrors: boolean | ((error: Error, key: K) => boolean);
  maxConcurrentBatches: number;
  batchTimeoutMs: number | undefined;
  onBatch: ((event: BatchEvent) => void) | undefined;
  clock: Clock;
  /** Whether batches wait for one another, so that a load inside the batch function needs care. */
  tracksNesting: boolean;
  /** Whether keys may wait longer than the rest of the turn, so that the time is worth reading. */
  timed: boolean;
  /** Called when a batch has ended and made room for another. */
  onEnded: () => void;
}

/** Which runner's batch function the code runs in: its own loads must not wait for a place that it holds. */
const runningIn = new AsyncLocalStorage<object>();

class CallContext implements BatchContext {
  /** As `Batch.kept`. */
  static readonly kept: BatchContext = new CallContext({ signal: new AbortController().signal, partition: undefined });
  readonly partition: unknown;
  readonly #batch: { readonly signal: AbortSignal };

  constructor(batch: { readonly signal: AbortSignal; readonly partition: unknown }) {
    this.#batch = batch;
    this.partition = batch.partition;
  }

  get signal(): AbortSignal {
    return this.#batch.signal;
  }
}

/** Runs the batch function for batches that are complete, so many at once, and gives each key its result. */
export class BatchRunner<K, V> {
  batches = 0;
  keysLoaded = 0;
  largestBatch = 0;
  batchFailures = 0;
  queueWaitMs = 0;
  running = 0;
  /** Keys that wait for their batch to start, in open batches too. */
  queuedKeys = 0;
  readonly #options: BatchRunnerOptions<K>;
  readonly #call: (keys: readonly K[], context: BatchContext) => unknown;
  readonly #resource = new AsyncResource('DataLoader');
  readonly #waiting: Batch<K, V>[] = [];
  #startsWaiting = false;

  constructor(call: (keys: readonly K[], context: BatchContext) => unknown, options: BatchRunnerOptions<K>) {
    this.#call = call;
    this.#options = options;
  }

  /** Runs the batch, or lets it wait for a place. */
  start(batch: Batch<K, V>): void {
    if (this.running >= this.#options.maxConcurrentBatches && !batch.urgent) this.#waiting.push(batch);
    else this.#run(batch);
  }

  /** Whether the code that asks runs inside the batch function. */
  isAsking(): boolean {
    return this.#options.tracksNesting && runningIn.getStore() === this;
  }

  /** Something that holds a place waits for this batch: it needs none. */
  hurry(batch: Batch<K, V>): void {
    batch.urgent = true;
    const at = this.#waiting.indexOf(batch);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    this.#run(batch);
  }

  /** Its last waiter has gone. What runs is told to stop; what does not run yet never will. */
  abandon(batch: Batch<K, V>, reason: unknown): void {
    if (!batch.running) {
      this.queuedKeys -= batch.keys.length;
      const at = this.#waiting.indexOf(batch);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
    this.#end(batch, 'aborted', undefined);
    batch.fail(reason);
    batch.abort(reason);
  }

  /** What is told of `batch` to those who watch. */
  eventOf(batch: Batch<K, V>): BatchEvent {
    batch.event ??= newBatchEvent('load', this.#options.name, batch.partition);
    return batch.event;
  }

  #run(batch: Batch<K, V>): void {
    const { batchTimeoutMs, clock, name, onBatch, timed } = this.#options;
    const size = batch.keys.length;
    batch.running = true;
    this.running += 1;
    this.batches += 1;
    this.keysLoaded += size;
    this.queuedKeys -= size;
    if (size > this.largestBatch) this.largestBatch = size;
    if (timed) this.queueWaitMs += clock.now() - (batch.openedAt ?? 0);
    if (onBatch !== undefined || startChannel.hasSubscribers || endChannel.hasSubscribers) this.#watch(batch);
    if (batchTimeoutMs !== undefined) this.#startTimer(batch, batchTimeoutMs);
    // A copy: a batch function that sorts or changes its keys must not send values to the wrong callers. A frozen array
    // would make each loop over the keys several times slower.
    const given = size === 1 ? [batch.keys[0] as K] : batch.keys.slice();
    let promise: PromiseLike<unknown>;
    try {
      const called = this.#resource.runInAsyncScope(this.#callFor, this, batch, given);
      if (typeof (called as PromiseLike<unknown> | undefined)?.then !== 'function') {
        throw brokenCall(`did not return a Promise: ${textOf(called)}`, name, size);
      }
      promise = called as PromiseLike<unknown>;
    } catch (error) {
      const known = (error as { code?: unknown } | undefined)?.code === 'ERR_BATCH_RESULT';
      if (!batch.settled) {
        this.#fail(batch, known ? error : brokenCall(`errored synchronously: ${textOf(error)}`, name, size, error));
      }
      this.#makeRoom();
      return;
    }
    Promise.resolve(promise).then(
      (results) => {
        if (!batch.settled) this.#settle(batch, given, results);
        this.#makeRoom();
      },
      (error) => {
        if (!batch.settled) this.#fail(batch, error);
        this.#makeRoom();
      },
    );
  }

  #callFor(batch: Batch<K, V>, keys: readonly K[]): unknown {
    const context = new CallContext(batch);
    if (!startChannel.hasSubscribers && !this.#options.tracksNesting) return this.#call(keys, context);
    const call = () =>
      startChannel.hasSubscribers
        ? startChannel.runStores(this.eventOf(batch), () => this.#call(keys, context))
        : this.#call(keys, context);
    return this.#options.tracksNesting ? runningIn.run(this, call) : call();
  }

  #settle(batch: Batch<K, V>, given: readonly K[], results: unknown): void {
    const { keys, entries } = batch;
    let values: ArrayLike<unknown>;
    let late: boolean;
    try {
      values = valuesInOrder(keys, given, results, this.#options);
      // What fails is known a promise callback later: so is then what does not, that a batch's loads settle in their order.
      late = hasError(values);
    } catch (broken) {
      this.#fail(batch, broken);
      return;
    }
    this.#end(batch, 'success', undefined);
    batch.answerHits();
    for (let i = 0; i < entries.length; i += 1) {
      const value = values[i];
      if (late && isError(value)) this.#failKey(batch, i, value);
      else succeed(entries[i] as Entry<K, V>, value as V, late);
    }
  }

  #failKey(batch: Batch<K, V>, at: number, error: Error): void {
    const { cacheErrors } = this.#options;
    let keep = cacheErrors === true;
    try {
      if (typeof cacheErrors === 'function') keep = cacheErrors(error, batch.keys[at] as K);
    } catch {
      // A predicate that throws has not said that the error may be kept; the callers get the loader's error all the same.
    }
    if (!keep) batch.forget(at);
    fail(batch.entries[at] as Entry<K, V>, error);
  }

  #fail(batch: Batch<K, V>, error: unknown): void {
    this.batchFailures += 1;
    this.#end(batch, 'failure', error);
    batch.fail(error);
  }

  // The callers have, or are about to get, their answer. The batch function may go on.
  #end(batch: Batch<K, V>, outcome: BatchEvent['outcome'], error: unknown): void {
    // First: who is told of it below may abort the last caller, which must not end it again.
    batch.settled = true;
    const { clock, onBatch } = this.#options;
    if (batch.timer !== undefined) clock.clearTimeout(batch.timer);
    if (batch.startedAt === undefined) return;
    const event = this.eventOf(batch);
    event.runMs = clock.now() - batch.startedAt;
    event.outcome = outcome;
    event.error = error;
    publishEnd(event, onBatch);
  }

  #makeRoom(): void {
    this.running -= 1;
    if (this.#waiting.length > 0 && !this.#startsWaiting) this.#startWaiting();
    this.#options.onEnded();
  }

  // A batch function that throws at once makes room while its batch is being started here: one loop takes all that wait, where one
  // inside the other would run out of stack.
  #startWaiting(): void {
    this.#startsWaiting = true;
    while (this.#waiting.length > 0 && this.running < this.#options.maxConcurrentBatches) {
      const next = this.#waiting.shift();
      if (next !== undefined) this.#run(next);
    }
    this.#startsWaiting = false;
  }

  #watch(batch: Batch<K, V>): void {
    const event = this.eventOf(batch);
    batch.startedAt = this.#options.clock.now();
    event.size = batch.keys.length;
    event.waitMs = batch.openedAt === undefined ? 0 : batch.startedAt - batch.openedAt;
  }

  #startTimer(batch: Batch<K, V>, batchTimeoutMs: number): void {
    const { clock, name } = this.#options;
    batch.timer = clock.setTimeout(() => {
      if (batch.settled) return;
      const error = new BatchTimeoutError(name === null ? 'DataLoader' : `DataLoader "${name}"`, batchTimeoutMs);
      this.#fail(batch, error);
      batch.abort(error);
    }, batchTimeoutMs);
  }
}
