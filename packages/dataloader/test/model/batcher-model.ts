import { type BatcherSetup, MOST_SUBMITTING_CALLS, WRITE_WINDOW_MS, type WriteEnding } from './batcher-setup.ts';
import { ModelTime } from './model-parts.ts';

/** An item, or the wait of a producer for room, as the model sees it. */
export interface ModelItem {
  readonly id: number;
  readonly bytes: number;
  outcome: string | undefined;
  /** Counts items in the order in which they were taken. */
  place: number;
  batch: ModelWrite | undefined;
}

export interface ModelWrite {
  readonly number: number;
  readonly items: ModelItem[];
  open: boolean;
  waiters: number;
  ended: boolean;
  aborted: boolean;
  timer: ReturnType<ModelTime['after']> | undefined;
}

/** Somebody who waits until what was there when they asked is done; until everything is, if `place` is absent. */
export interface ModelWait {
  readonly place: number | undefined;
  done: boolean;
}

/**
 * What a batcher must do, step by step and without a promise. Callbacks of promises run in `pass`, in rounds, as they are
 * chained; what waits for a turn of the event loop runs in `turn`.
 */
export class BatcherModel {
  readonly calls: ModelWrite[] = [];
  readonly counts = { submitted: 0, written: 0, failed: 0, aborted: 0, batches: 0, largestBatch: 0 };
  readonly waits: ModelWait[] = [];
  queue: ModelItem[] = [];
  readonly running = new Set<ModelWrite>();
  readonly #setup: BatcherSetup;
  readonly #makeItem: () => ModelItem;
  readonly #time = new ModelTime();
  #places = 0;
  #flushed = 0;
  #timer: ReturnType<ModelTime['after']> | undefined;
  #closed = false;
  #producers: ModelItem[] = [];
  #promised = 0;
  #resets = 0;
  #rounds: (() => void)[][] = [];

  /** @param makeItem makes the item that a batch function submits itself. */
  constructor(setup: BatcherSetup, makeItem: () => ModelItem) {
    this.#setup = setup;
    this.#makeItem = makeItem;
  }

  submit(item: ModelItem): void {
    const { maxQueued, whenFull } = this.#setup;
    if (this.#closed) this.#settleItem(item, 'ERR_CLOSED');
    else if (this.queue.length >= maxQueued && whenFull === 'reject') this.#settleItem(item, 'ERR_OVERLOADED');
    else if (this.#setup.maxBatchBytes !== undefined && item.bytes < 0) this.#settleItem(item, 'no size');
    else {
      this.counts.submitted += 1;
      this.#promised = Math.max(0, this.#promised - 1);
      this.#places += 1;
      item.place = this.#places;
      this.queue.push(item);
      if (this.queue.length >= maxQueued) this.#flushed = this.#places;
      this.#pump();
    }
  }

  /** `item` is submitted as soon as its producer has been told that there is room. */
  submitWhenRoom(item: ModelItem): void {
    if (this.#closed) this.#settleItem(item, 'ERR_CLOSED');
    else {
      this.#producers.push(item);
      this.#tellProducers();
    }
  }

  leave(item: ModelItem, reason: string): void {
    if (item.outcome !== undefined) return;
    item.outcome = reason;
    this.#producers = this.#producers.filter((one) => one !== item);
    const { batch } = item;
    if (batch !== undefined) {
      batch.waiters -= 1;
      if (batch.waiters > 0 || batch.ended) return;
      this.#time.cancel(batch.timer);
      batch.aborted = true;
    } else if (this.queue.includes(item)) {
      this.queue = this.queue.filter((one) => one !== item);
      this.counts.aborted += 1;
      this.#pump();
    }
  }

  flush(): ModelWait {
    const place = this.#places;
    this.#flushed = place;
    this.#pump();
    return this.#until(place);
  }

  idle(): ModelWait {
    return this.#until(undefined);
  }

  close(): ModelWait {
    this.#closed = true;
    for (const item of this.#producers.splice(0)) this.#settleItem(item, 'ERR_CLOSED');
    return this.flush();
  }

  settle(call: ModelWrite, ending: WriteEnding): void {
    call.open = false;
    this.#after(1, () => {
      this.#arrive(call, ending);
      this.#after(1, () => this.#ended(call));
    });
  }

  pass(): void {
    while (this.#rounds.length > 0) for (const callback of this.#rounds.shift() ?? []) callback();
  }

  turn(): void {
    this.pass();
    while (this.#resets > 0) {
      this.#resets -= 1;
      this.#promised = 0;
      this.#tellProducers();
      this.pass();
    }
  }

  advance(ms: number): void {
    this.turn();
    this.#time.advance(ms, () => this.turn());
  }

  // So many callbacks of promises later.
  #after(rounds: number, callback: () => void): void {
    for (let made = this.#rounds.length; made < rounds; made += 1) this.#rounds.push([]);
    this.#rounds[rounds - 1]?.push(callback);
  }

  #settleItem(item: ModelItem, outcome: string): void {
    item.outcome ??= outcome;
  }

  #until(place: number | undefined): ModelWait {
    const wait = { place, done: false };
    this.waits.push(wait);
    this.#tellWaits();
    return wait;
  }

  #pump(): void {
    while (this.running.size < this.#setup.maxConcurrentBatches) {
      const items = this.#next();
      if (items === undefined) break;
      this.queue = this.queue.slice(items.length);
      this.#run(items);
    }
    if (this.queue.length === 0) {
      this.#time.cancel(this.#timer);
      this.#timer = undefined;
    } else if ((this.queue.at(-1)?.place ?? 0) > this.#flushed) {
      this.#timer ??= this.#time.after(WRITE_WINDOW_MS, () => {
        this.#timer = undefined;
        this.#flushed = this.#places;
        this.#pump();
      });
    }
    this.#tellProducers();
    this.#tellWaits();
  }

  /** As many of the first items as fit into a batch, if there are as many as fit or their time has come. */
  #next(): ModelItem[] | undefined {
    const { maxBatchSize, maxBatchBytes } = this.#setup;
    const most = maxBatchBytes ?? Number.POSITIVE_INFINITY;
    const items: ModelItem[] = [];
    let bytes = 0;
    for (const item of this.queue) {
      const size = maxBatchBytes === undefined ? 0 : item.bytes;
      if (items.length === maxBatchSize || bytes >= most || (items.length > 0 && bytes + size > most)) return items;
      items.push(item);
      bytes += size;
    }
    const full = items.length === maxBatchSize || bytes >= most;
    return full || (items[0] !== undefined && items[0].place <= this.#flushed) ? items : undefined;
  }

  #run(items: ModelItem[]): void {
    const { starts, batchTimeoutMs } = this.#setup;
    const number = this.calls.length;
    const start = starts[number % starts.length];
    const state = { open: start === 'held' || start === 'submits', ended: false, aborted: false, timer: undefined };
    const call: ModelWrite = { number, items, waiters: items.length, ...state };
    this.calls.push(call);
    this.running.add(call);
    this.counts.batches += 1;
    this.counts.largestBatch = Math.max(this.counts.largestBatch, items.length);
    for (const item of items) item.batch = call;
    if (batchTimeoutMs !== undefined) {
      call.timer = this.#time.after(batchTimeoutMs, () => {
        this.#fail(call, 'ERR_TIMEOUT');
        call.aborted = true;
      });
    }
    if (start === 'submits' && number < MOST_SUBMITTING_CALLS) this.submit(this.#makeItem());
    if (start === 'throws') {
      this.#fail(call, 'thrown');
      this.#after(1, () => this.#ended(call));
    } else if (start === 'gives no promise') {
      this.settle(call, 'no array');
    }
  }

  #ended(call: ModelWrite): void {
    this.running.delete(call);
    this.#pump();
  }

  #arrive(call: ModelWrite, ending: WriteEnding): void {
    if (call.ended) return;
    if (ending === 'results' || ending === 'nothing') {
      this.#end(call);
      for (const item of call.items) {
        const outcome = writeOutcome(item.id, call.number, ending);
        if (outcome.startsWith('error')) this.counts.failed += 1;
        else this.counts.written += 1;
        this.#settleItem(item, outcome);
      }
    } else if (call.aborted) {
      this.#end(call);
      this.counts.aborted += call.items.length;
    } else {
      this.#fail(call, ending === 'a rejection' ? `batch ${call.number} rejected` : 'ERR_BATCH_RESULT');
    }
  }

  #fail(call: ModelWrite, outcome: string): void {
    if (call.ended) return;
    this.#end(call);
    this.counts.failed += call.items.length;
    for (const item of call.items) this.#settleItem(item, outcome);
  }

  #end(call: ModelWrite): void {
    call.ended = true;
    this.#time.cancel(call.timer);
  }

  #tellProducers(): void {
    while (this.#producers.length > 0 && this.#setup.maxQueued - this.queue.length > this.#promised) {
      if (this.#promised === 0) this.#resets += 1;
      this.#promised += 1;
      const item = this.#producers.shift() as ModelItem;
      this.#after(1, () => {
        // With a signal that has aborted meanwhile nothing is submitted.
        if (item.outcome === undefined) this.submit(item);
      });
    }
  }

  #tellWaits(): void {
    const places = [...this.running].flatMap(({ items }) => items).concat(this.queue);
    const oldest = Math.min(...places.map(({ place }) => place));
    for (const wait of this.waits) if (oldest > (wait.place ?? Number.MAX_VALUE)) wait.done = true;
  }
}

/** What the batch function of the play gives for an item. Every third is an error. */
export function writeOutcome(id: number, batch: number, ending: 'results' | 'nothing'): string {
  if (ending === 'nothing') return 'undefined';
  return id % 3 === 2 ? `error of ${id} in ${batch}` : `${id} in ${batch}`;
}
