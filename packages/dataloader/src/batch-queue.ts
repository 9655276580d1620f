import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { Batch } from './batch.ts';
import { brokenCall, isError, type Missing, valuesInOrder } from './batch-results.ts';
import type { Clock } from './clock.ts';
import type { Entry } from './entry.ts';
import { BatchTimeoutError } from './errors.ts';
import { afterPromises, type Schedule, type ScheduleFn, slidingWindow } from './schedule.ts';

/** What the batch function gets beside the keys. */
export interface BatchContext {
  /** Aborts when nobody waits for the batch any more, or its time is up. */
  readonly signal: AbortSignal;
  /** What `partition` gave for the keys of this batch. */
  readonly partition: unknown;
}

export interface BatchQueueOptions<K> {
  name: string | null;
  missing: Missing;
  cacheKeyFn: (key: K) => unknown;
  cacheErrors: boolean | ((error: Error, key: K) => boolean);
  maxBatchSize: number;
  maxConcurrentBatches: number;
  batchTimeoutMs: number | undefined;
  schedule: Schedule | ScheduleFn;
  clock: Clock;
}

/** With the adaptive schedule: a slow batch holds later keys up no longer than this. */
const ADAPTIVE_WAIT_MS = 10;

/** Which queue's batch function the code runs in: its own loads must not wait for a place that it holds. */
const runningIn = new AsyncLocalStorage<object>();

class CallContext implements BatchContext {
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

/** Collects keys into batches, runs the batch function, and gives each key its result. It caches nothing. */
export class BatchQueue<K, V> {
  loads = 0;
  hits = 0;
  batches = 0;
  keysLoaded = 0;
  batchFailures = 0;
  queuedKeys = 0;
  /** How many batches that have not settled have waiters who may leave. */
  leavable = 0;
  /** Batches that have not settled. */
  readonly #live = new Set<Batch<K, V>>();
  /** Whether `joined` has anything to do. */
  readonly watchesJoins: boolean;
  /** Whether batches wait for one another, so that a load inside the batch function needs care. */
  readonly tracksNesting: boolean;
  readonly #options: BatchQueueOptions<K>;
  readonly #call: (keys: readonly K[], context: BatchContext) => unknown;
  readonly #resource = new AsyncResource('DataLoader');
  readonly #slides: boolean;
  readonly #abandoned: (batch: Batch<K, V>, reason: unknown) => void;
  #current: Batch<K, V> | undefined;
  #partitions: Map<unknown, Batch<K, V>> | undefined;
  #running = 0;
  readonly #waiting: Batch<K, V>[] = [];
  /** With the adaptive schedule: batches that are dispatched when one that runs has settled. */
  readonly #gathering: (() => void)[] = [];

  constructor(call: (keys: readonly K[], context: BatchContext) => unknown, options: BatchQueueOptions<K>) {
    this.#call = call;
    this.#options = options;
    this.tracksNesting = options.maxConcurrentBatches !== Number.POSITIVE_INFINITY || options.schedule === 'adaptive';
    this.watchesJoins = this.tracksNesting || typeof options.schedule !== 'string';
    this.#slides = typeof options.schedule === 'object' && options.schedule.maxWaitMs !== undefined;
    this.#abandoned = (batch, reason) => this.#abandon(batch, reason);
  }

  /** The batch that a key of `partition` joins now. */
  open(partition: unknown): Batch<K, V> {
    const current = partition === undefined ? this.#current : this.#partitions?.get(partition);
    if (current !== undefined && current.keys.length < this.#options.maxBatchSize) return current;
    const batch = new Batch<K, V>(partition, this.#abandoned);
    this.#live.add(batch);
    if (partition === undefined) {
      this.#current = batch;
    } else {
      this.#partitions ??= new Map();
      this.#partitions.set(partition, batch);
    }
    let scheduled = false;
    this.#schedule(batch, () => {
      // A schedule that fires at once does so before there is a key: `joined` dispatches then.
      if (scheduled) this.#dispatch(batch);
      else batch.due = true;
    });
    scheduled = true;
    return batch;
  }

  /** The entry that settles `promise`, if its batch has not settled yet. */
  entryOf(promise: Promise<V>): Entry<K, V> | undefined {
    for (const batch of this.#live) {
      const entry = batch.entryOf(promise);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /** To be called, if `watchesJoins`, after a key, or a hit, has been added to the open batch. */
  joined(batch: Batch<K, V>): void {
    if (this.#slides) batch.joinedAt = this.#options.clock.now();
    if (this.tracksNesting && runningIn.getStore() === this) this.#hurry(batch);
    if (batch.due) this.#dispatch(batch);
    else if (batch.keys.length >= this.#options.maxBatchSize && typeof this.#options.schedule === 'object') {
      // Nothing is gained by keeping a full batch for the rest of its window.
      afterPromises(() => this.#dispatch(batch));
    }
  }

  /** A load inside this queue's own batch function waits for `batch`. */
  awaited(batch: Batch<K, V>): void {
    if (this.tracksNesting && runningIn.getStore() === this) this.#hurry(batch);
  }

  #hurry(batch: Batch<K, V>): void {
    batch.urgent = true;
    if (this.#options.schedule === 'adaptive' && !batch.dispatched) setImmediate(() => this.#dispatch(batch));
    const at = this.#waiting.indexOf(batch);
    if (at >= 0) this.#run(...(this.#waiting.splice(at, 1) as [Batch<K, V>]));
  }

  #schedule(batch: Batch<K, V>, dispatch: () => void): void {
    const { schedule, clock } = this.#options;
    if (typeof schedule === 'function') schedule(dispatch);
    else if (schedule === 'tick') afterPromises(dispatch);
    else if (schedule === 'immediate') setImmediate(dispatch);
    else if (schedule === 'adaptive') this.#gather(dispatch);
    else if (this.#slides) slidingWindow(clock, schedule, () => batch.joinedAt, dispatch);
    else clock.setTimeout(dispatch, schedule.windowMs);
  }

  #gather(dispatch: () => void): void {
    if (this.#running === 0) {
      setImmediate(dispatch);
      return;
    }
    this.#gathering.push(dispatch);
    this.#options.clock.setTimeout(dispatch, ADAPTIVE_WAIT_MS);
  }

  #dispatch(batch: Batch<K, V>): void {
    if (batch.dispatched) return;
    batch.dispatched = true;
    this.#close(batch);
    if (batch.keys.length === 0 || batch.settled) {
      this.#live.delete(batch);
      batch.openGates();
    } else if (this.#running >= this.#options.maxConcurrentBatches && !batch.urgent) {
      this.#waiting.push(batch);
    } else {
      this.#run(batch);
    }
  }

  #close(batch: Batch<K, V>): void {
    if (this.#current === batch) this.#current = undefined;
    if (this.#partitions?.get(batch.partition) === batch) this.#partitions.delete(batch.partition);
  }

  #run(batch: Batch<K, V>): void {
    batch.running = true;
    this.#running += 1;
    this.batches += 1;
    this.keysLoaded += batch.keys.length;
    this.queuedKeys -= batch.keys.length;
    // A batch function that sorted them would send values to the wrong callers.
    Object.freeze(batch.keys);
    this.#startTimer(batch);
    const ended = (results: unknown, error?: unknown, failed = false) => {
      if (!batch.settled) this.#settle(batch, results, error, failed);
      this.#running -= 1;
      this.#runNext();
      // After the callers' own continuations: what they load next joins too.
      for (const dispatch of this.#gathering.splice(0)) setImmediate(dispatch);
    };
    const context = new CallContext(batch);
    let promise: PromiseLike<unknown>;
    try {
      const called = this.tracksNesting
        ? this.#resource.runInAsyncScope(() => runningIn.run(this, this.#call, batch.keys, context))
        : this.#resource.runInAsyncScope(this.#call, undefined, batch.keys, context);
      if (typeof (called as PromiseLike<unknown> | undefined)?.then !== 'function') {
        throw brokenCall(`did not return a Promise: ${String(called)}`, this.#options.name);
      }
      promise = called as PromiseLike<unknown>;
    } catch (error) {
      const known = (error as { code?: unknown } | undefined)?.code === 'ERR_BATCH_RESULT';
      const failure = known ? error : brokenCall(`errored synchronously: ${String(error)}`, this.#options.name, error);
      ended(undefined, failure, true);
      return;
    }
    Promise.resolve(promise).then(ended, (error) => ended(undefined, error, true));
  }

  #settle(batch: Batch<K, V>, results: unknown, error: unknown, failed: boolean): void {
    if (failed) {
      this.#fail(batch, error);
      return;
    }
    const { keys, entries } = batch;
    let values: ArrayLike<unknown>;
    try {
      values = valuesInOrder(keys, results, this.#options);
    } catch (broken) {
      this.#fail(batch, broken);
      return;
    }
    batch.settled = true;
    this.#retire(batch);
    batch.openGates();
    for (let i = 0; i < entries.length; i += 1) {
      const value = values[i];
      if (isError(value)) this.#failKey(batch, i, value);
      else (entries[i] as Entry<K, V>).succeed(value as V);
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
    batch.entries[at]?.fail(error);
  }

  #fail(batch: Batch<K, V>, error: unknown): void {
    this.batchFailures += 1;
    this.#retire(batch);
    batch.fail(error);
  }

  #retire(batch: Batch<K, V>): void {
    if (batch.timer !== undefined) this.#options.clock.clearTimeout(batch.timer);
    this.#live.delete(batch);
    if (batch.leavable) this.leavable -= 1;
  }

  #runNext(): void {
    while (this.#waiting.length > 0 && this.#running < this.#options.maxConcurrentBatches) {
      const next = this.#waiting.shift();
      if (next !== undefined) this.#run(next);
    }
  }

  #startTimer(batch: Batch<K, V>): void {
    const { batchTimeoutMs, clock, name } = this.#options;
    if (batchTimeoutMs === undefined) return;
    batch.timer = clock.setTimeout(() => {
      if (batch.settled) return;
      const error = new BatchTimeoutError(name === null ? 'DataLoader' : `DataLoader "${name}"`, batchTimeoutMs);
      this.#fail(batch, error);
      batch.abort(error);
    }, batchTimeoutMs);
  }

  // Its last waiter has gone. What runs is told to stop; what does not run yet never will.
  #abandon(batch: Batch<K, V>, reason: unknown): void {
    if (!batch.running) {
      this.queuedKeys -= batch.keys.length;
      this.#close(batch);
      const at = this.#waiting.indexOf(batch);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
    this.#retire(batch);
    batch.fail(reason);
    batch.abort(reason);
  }
}
