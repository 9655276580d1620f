import { Batch } from './batch.ts';
import { anyoneListens, joinChannel } from './batch-events.ts';
import { type BatchContext, BatchRunner, type BatchRunnerOptions } from './batch-runner.ts';
import { wrongOption } from './option-checks.ts';
import {
  ADAPTIVE_WAIT_MS,
  afterPromises,
  type Schedule,
  type ScheduleFn,
  slidingWindow,
  whenQuiet,
} from './schedule.ts';

export interface BatchQueueOptions<K> extends Omit<BatchRunnerOptions<K>, 'tracksNesting' | 'timed' | 'onEnded'> {
  maxBatchSize: number;
  maxBatchWeight: number;
  weightOf: ((key: K) => number) | undefined;
  schedule: Schedule | ScheduleFn;
}

/** Collects keys into batches, and hands each to the runner when its schedule says so. It caches nothing. */
export class BatchQueue<K, V> {
  loads = 0;
  hits = 0;
  /** Whether others than the loader itself put keys into the batches, so that each must be found by who asks for it next. */
  shared = false;
  readonly runner: BatchRunner<K, V>;
  /** Whether `joined` has anything to do. */
  readonly watchesJoins: boolean;
  /** Whether a key has to be weighed before it is put into a batch. */
  readonly weighs: boolean;
  /** Whether batches wait for one another, so that a load inside the batch function needs care. */
  readonly tracksNesting: boolean;
  /** Whether keys may wait longer than the rest of the turn, so that the time is worth reading. */
  readonly #timed: boolean;
  readonly #options: BatchQueueOptions<K>;
  readonly #maxBatchSize: number;
  readonly #slides: boolean;
  readonly #abandoned: (batch: Batch<K, V>, reason: unknown) => void;
  readonly #dispatched: (batch: Batch<K, V>) => void;
  #current: Batch<K, V> | undefined;
  #expectedHits = 0;
  #partitions: Map<unknown, Batch<K, V>> | undefined;
  /** With the adaptive schedule: batches that are dispatched when one that runs has settled. */
  readonly #gathering: { batch: Batch<K, V>; dispatch: () => void }[] = [];

  constructor(call: (keys: readonly K[], context: BatchContext) => unknown, options: BatchQueueOptions<K>) {
    const { schedule, maxConcurrentBatches } = options;
    this.#options = options;
    this.tracksNesting = maxConcurrentBatches !== Number.POSITIVE_INFINITY || schedule === 'adaptive';
    this.watchesJoins = this.tracksNesting || typeof schedule !== 'string';
    // No batch gets longer than this, and two small integers are quicker to compare.
    this.#maxBatchSize = Math.min(options.maxBatchSize, 2 ** 31 - 1);
    this.weighs = options.weightOf !== undefined;
    this.#timed = schedule !== 'tick' || maxConcurrentBatches !== Number.POSITIVE_INFINITY;
    this.#slides = typeof schedule === 'object' && schedule.maxWaitMs !== undefined;
    this.#abandoned = (batch, reason) => this.#abandon(batch, reason);
    this.#dispatched = (batch) => this.#dispatch(batch);
    this.runner = new BatchRunner<K, V>(call, {
      ...options,
      tracksNesting: this.tracksNesting,
      timed: this.#timed,
      onEnded: () => this.#batchEnded(),
    });
  }

  /** The batch that a hit in `partition` waits for now. */
  open(partition: unknown): Batch<K, V> {
    const current = this.#openIn(partition);
    if (
      current !== undefined &&
      current.keys.length < this.#maxBatchSize &&
      (!this.weighs || current.weight < this.#options.maxBatchWeight)
    ) {
      return current;
    }
    return this.#begin(partition);
  }

  /** The batch that `key` joins now; if it is there already, known by `cacheKey`, the open one, full or not. */
  openFor(key: K, partition: unknown, cacheKey: unknown): Batch<K, V> {
    const { weightOf, maxBatchWeight } = this.#options;
    if (cacheKey !== undefined) {
      const current = this.#openIn(partition);
      if (current?.positionOf(cacheKey) !== undefined) return current;
    }
    if (weightOf === undefined) return this.open(partition);
    const weight = weightOf(key);
    if (!(Number.isFinite(weight) && weight >= 0)) throw wrongOption('weightOf(key)', 'a finite number >= 0', weight);
    let batch = this.open(partition);
    if (batch.keys.length > 0 && batch.weight + weight > maxBatchWeight) {
      this.#hasNoRoom(batch);
      batch = this.#begin(partition);
    }
    batch.weight += weight;
    return batch;
  }

  /** From now on batches are shared, those too that are open already. */
  share(): void {
    if (this.shared) return;
    this.shared = true;
    const { cacheKeyFn } = this.#options;
    for (const batch of [this.#current, ...(this.#partitions?.values() ?? [])]) {
      for (const [at, key] of batch?.keys.entries() ?? []) batch?.locate(cacheKeyFn(key), at);
    }
  }

  #openIn(partition: unknown): Batch<K, V> | undefined {
    return partition === undefined ? this.#current : this.#partitions?.get(partition);
  }

  #begin(partition: unknown): Batch<K, V> {
    const batch = new Batch<K, V>(partition, this.#expectedHits, this.#abandoned);
    if (this.#timed || anyoneListens(this.#options.onBatch)) batch.openedAt = this.#options.clock.now();
    if (partition === undefined) {
      this.#current = batch;
    } else {
      this.#partitions ??= new Map();
      this.#partitions.set(partition, batch);
    }
    if (this.#options.schedule === 'tick') afterPromises(this.#dispatched, batch);
    else this.#schedule(batch);
    return batch;
  }

  /** To be called, if `watchesJoins`, after a key, or a hit, has been added to the open batch. */
  joined(batch: Batch<K, V>): void {
    if (this.#slides) batch.joinedAt = this.#options.clock.now();
    if (this.tracksNesting && this.runner.isAsking()) this.#hurry(batch);
    if (batch.due) this.#dispatch(batch);
    else if (batch.keys.length >= this.#options.maxBatchSize || batch.weight >= this.#options.maxBatchWeight) {
      this.#hasNoRoom(batch);
    }
  }

  /** Tells who listens that a caller has joined `batch`. */
  publishJoin(key: K, batch: Batch<K, V>): void {
    if (joinChannel.hasSubscribers) joinChannel.publish({ key, batch: this.runner.eventOf(batch) });
  }

  /** A load inside this queue's own batch function waits for `batch`. */
  awaited(batch: Batch<K, V>): void {
    if (this.tracksNesting && this.runner.isAsking()) this.#hurry(batch);
  }

  // Nothing is gained by keeping a full batch for the rest of its window.
  #hasNoRoom(batch: Batch<K, V>): void {
    const { schedule } = this.#options;
    if (typeof schedule === 'object' || schedule === 'adaptive') afterPromises(this.#dispatched, batch);
  }

  #hurry(batch: Batch<K, V>): void {
    this.runner.hurry(batch);
    if (this.#options.schedule === 'adaptive' && !batch.dispatched) setImmediate(this.#dispatched, batch);
  }

  #schedule(batch: Batch<K, V>): void {
    const { schedule, clock } = this.#options;
    let scheduled = false;
    const dispatch = () => {
      // A schedule that fires at once does so before there is a key: `joined` dispatches then.
      if (scheduled) this.#dispatch(batch);
      else batch.due = true;
    };
    if (typeof schedule === 'function') this.#scheduleBy(schedule, batch, dispatch);
    else if (schedule === 'immediate') setImmediate(dispatch);
    else if (schedule === 'adaptive') this.#gather(batch, dispatch);
    else if (this.#slides) slidingWindow(clock, schedule as { windowMs: number }, batch, dispatch);
    else batch.timer = clock.setTimeout(dispatch, (schedule as { windowMs: number }).windowMs);
    scheduled = true;
  }

  #scheduleBy(schedule: ScheduleFn, batch: Batch<K, V>, dispatch: () => void): void {
    try {
      schedule(dispatch);
    } catch (error) {
      // The load that opened the batch throws this, as upstream's does. Nobody else may join what is never dispatched.
      this.#close(batch);
      throw error;
    }
  }

  #gather(batch: Batch<K, V>, dispatch: () => void): void {
    const { clock } = this.#options;
    if (this.runner.running === 0) {
      whenQuiet(clock, batch, dispatch);
      return;
    }
    this.#gathering.push({ batch, dispatch });
    batch.timer = clock.setTimeout(dispatch, ADAPTIVE_WAIT_MS);
  }

  // After the callers' own continuations: what they load next joins too.
  #batchEnded(): void {
    if (this.#gathering.length === 0) return;
    for (const { batch, dispatch } of this.#gathering.splice(0)) whenQuiet(this.#options.clock, batch, dispatch);
  }

  #dispatch(batch: Batch<K, V>): void {
    if (batch.dispatched) return;
    this.#close(batch);
    if (batch.keys.length === 0 || batch.settled) batch.answerHits();
    else this.runner.start(batch);
  }

  #close(batch: Batch<K, V>): void {
    batch.dispatched = true;
    this.#expectedHits = batch.hitCount;
    if (batch.timer !== undefined) this.#options.clock.clearTimeout(batch.timer);
    if (batch.partition === undefined) {
      if (this.#current === batch) this.#current = undefined;
    } else if (this.#partitions?.get(batch.partition) === batch) {
      this.#partitions.delete(batch.partition);
    }
  }

  #abandon(batch: Batch<K, V>, reason: unknown): void {
    if (!batch.dispatched) this.#close(batch);
    this.runner.abandon(batch, reason);
  }
}
