import type { AsyncResource } from 'node:async_hooks';
import type { Queued } from './item-queue.ts';
import { whenAborted } from './when-aborted.ts';

/** What is told of a `submit` to those who watch batches. */
interface WatchedSubmit {
  readonly submittedAt: number;
  /** The caller's async context, where somebody listens to who joins a batch. */
  readonly context: AsyncResource | undefined;
}

/** One item that was submitted, and its caller. */
export class BatchItem<T, Result> implements Queued<BatchItem<T, Result>> {
  readonly item: T;
  readonly bytes: number;
  place = 0;
  waits = false;
  previous: BatchItem<T, Result> | undefined = undefined;
  next: BatchItem<T, Result> | undefined = undefined;
  /** What it is being written with. */
  batch: { leave(reason: unknown): void } | undefined = undefined;
  /** For those who watch batches: nothing where nobody does. */
  readonly watched: WatchedSubmit | undefined;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  #stopListening: (() => void) | undefined;

  constructor(
    item: T,
    bytes: number,
    resolve: (result: Result) => void,
    reject: (error: unknown) => void,
    watched: WatchedSubmit | undefined,
  ) {
    this.item = item;
    this.bytes = bytes;
    this.resolve = resolve;
    this.reject = reject;
    this.watched = watched;
  }

  /** Calls `onAbort` when `signal` aborts before the item is settled. */
  watch(signal: AbortSignal, onAbort: (item: this, reason: unknown) => void): void {
    this.#stopListening = whenAborted(signal, () => onAbort(this, signal.reason));
  }

  /** Gives the caller, unless they have left, what became of the item. */
  settle(failed: boolean, result: unknown): void {
    this.#stopListening?.();
    if (failed) this.reject(result);
    else this.resolve(result as Result);
  }
}
