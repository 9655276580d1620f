import { type Clock, systemClock } from './clock.ts';
import { OverloadedError } from './errors.ts';
import { LinkedList, type ListNode } from './linked-list.ts';
import { checkAtLeast, checkClock, checkCount, checkRatio, checkSignal } from './option-checks.ts';
import { timerMs } from './timer-ms.ts';
import { whenAborted } from './when-aborted.ts';

export interface BackpressureQueueOptions {
  /** How many items may wait to be taken. A whole number from 1, default 1,000. */
  maxSize?: number | undefined;
  /** Below this share of `maxSize` the queue is healthy. 0 to 1, default 0.8. */
  healthyBelow?: number | undefined;
  clock?: Clock | undefined;
}

export interface QueueStats {
  size: number;
  maxSize: number;
  enqueued: number;
  dequeued: number;
  rejected: number;
  healthy: boolean;
}

/**
 * Items on their way from producers to consumers, at most `maxSize` of them. A producer waits a while for room and is
 * then told `false`: that is the backpressure. First in, first out, for items and for those who wait.
 */
export class BackpressureQueue<T> implements AsyncIterable<T>, AsyncDisposable {
  readonly #maxSize: number;
  readonly #healthyBelow: number;
  readonly #clock: Clock;
  readonly #items = new LinkedList<T>();
  /** Producers wait only while the queue is full, consumers only while it is empty: never both. */
  readonly #producers = new LinkedList<Producer<T>>();
  readonly #consumers = new LinkedList<Consumer<T>>();
  #closed = false;
  #enqueued = 0;
  #dequeued = 0;
  #rejected = 0;

  constructor(options: BackpressureQueueOptions = {}) {
    const { maxSize = 1_000, healthyBelow = 0.8, clock = systemClock } = options;
    checkCount('maxSize', maxSize, 1);
    checkRatio('healthyBelow', healthyBelow);
    checkClock(clock);
    this.#maxSize = maxSize;
    this.#healthyBelow = healthyBelow;
    this.#clock = clock;
  }

  /**
   * Resolves with true once the item is in, with false if there was no room for `timeoutMs` (milliseconds, default
   * 1,000; 0 does not wait) or the queue is closed. Rejects with the signal's reason on abort; then the item is not in.
   */
  async enqueue(
    item: T,
    options: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<boolean> {
    const { timeoutMs = 1_000, signal } = options;
    checkAtLeast('timeoutMs', timeoutMs, 0);
    checkSignal(signal);
    signal?.throwIfAborted();
    if (!this.#closed && this.#accept(item)) return true;
    if (this.#closed || timeoutMs === 0) {
      this.#rejected++;
      return false;
    }
    return new Promise<boolean>((resolve, reject) => {
      const producer: Producer<T> = { item, done: resolve, detach: () => {} };
      const place = this.#producers.push(producer);
      const timer =
        timeoutMs === Number.POSITIVE_INFINITY
          ? undefined
          : this.#clock.setTimeout(() => this.#sendAway(place), timerMs(timeoutMs));
      const stopListening =
        signal &&
        whenAborted(signal, () => {
          this.#producers.remove(place);
          producer.detach();
          reject(signal.reason);
        });
      producer.detach = () => {
        if (timer !== undefined) this.#clock.clearTimeout(timer);
        stopListening?.();
      };
    });
  }

  /**
   * The next item, as soon as there is one. Rejects with the signal's reason on abort, and then no item was taken; with
   * ERR_OVERLOADED, reason `draining`, once the queue is closed and empty.
   */
  async dequeue(options: { signal?: AbortSignal | undefined } = {}): Promise<T> {
    const { signal } = options;
    checkSignal(signal);
    signal?.throwIfAborted();
    const { value } = this.#take() ?? (await this.#await(signal));
    return value;
  }

  /** How many items wait to be taken. */
  get size(): number {
    return this.#items.size;
  }

  /** How many items were refused: no room in time, or closed. */
  get rejectedCount(): number {
    return this.#rejected;
  }

  isHealthy(): boolean {
    return this.#items.size / this.#maxSize < this.#healthyBelow;
  }

  stats(): QueueStats {
    return {
      size: this.#items.size,
      maxSize: this.#maxSize,
      enqueued: this.#enqueued,
      dequeued: this.#dequeued,
      rejected: this.#rejected,
      healthy: this.isHealthy(),
    };
  }

  /** Takes nothing more in. Producers who wait are told `false`; what is in can still be taken; then consumers end. */
  close(): Promise<void> {
    this.#closed = true;
    for (let place = this.#producers.first; place !== undefined; place = this.#producers.first) this.#sendAway(place);
    for (let consumer = this.#consumers.shift(); consumer !== undefined; consumer = this.#consumers.shift()) {
      consumer.value.detach();
      consumer.value.end();
    }
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Each loop over the queue is one more consumer; it ends when the queue is closed and empty. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    const stop = new AbortController();
    const done: IteratorResult<T, undefined> = { done: true, value: undefined };
    return {
      next: async () => {
        if (stop.signal.aborted) return done;
        const taken = this.#take() ?? (await this.#await(stop.signal).catch(() => undefined));
        // Given as it is: an item may be a promise that rejects, which is not the end of the queue.
        if (taken !== undefined) return { done: false, value: taken.value };
        stop.abort();
        return done;
      },
      // A `next` that still waits would take an item for nobody.
      return: async () => {
        stop.abort();
        return done;
      },
    };
  }

  #accept(item: T): boolean {
    if (this.#items.size >= this.#maxSize) return false;
    this.#enqueued++;
    const consumer = this.#consumers.shift();
    if (consumer === undefined) {
      this.#items.push(item);
    } else {
      this.#dequeued++;
      consumer.value.detach();
      consumer.value.give({ value: item });
    }
    return true;
  }

  /** The next item, once there is one; none is there now. */
  #await(signal: AbortSignal | undefined): Promise<Taken<T>> {
    if (this.#closed) return Promise.reject(drained());
    return new Promise((resolve, reject) => {
      const consumer: Consumer<T> = { give: resolve, end: () => reject(drained()), detach: () => {} };
      const place = this.#consumers.push(consumer);
      if (signal === undefined) return;
      consumer.detach = whenAborted(signal, () => {
        this.#consumers.remove(place);
        reject(signal.reason);
      });
    });
  }

  #take(): Taken<T> | undefined {
    const first = this.#items.shift();
    if (first === undefined) return undefined;
    this.#dequeued++;
    const producer = this.#producers.shift()?.value;
    if (producer !== undefined) {
      producer.detach();
      this.#enqueued++;
      this.#items.push(producer.item);
      producer.done(true);
    }
    return first;
  }

  #sendAway(place: ListNode<Producer<T>>): void {
    this.#producers.remove(place);
    place.value.detach();
    this.#rejected++;
    place.value.done(false);
  }
}

interface Producer<T> {
  item: T;
  done(accepted: boolean): void;
  detach(): void;
}

/** An item, wrapped: a promise that resolves with the item itself would wait for one that is a promise. */
interface Taken<T> {
  readonly value: T;
}

interface Consumer<T> {
  give(taken: Taken<T>): void;
  end(): void;
  detach(): void;
}

function drained(): OverloadedError {
  return new OverloadedError('draining', 1_000, 'queue');
}
