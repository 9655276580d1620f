import type { TransferListItem } from 'node:worker_threads';
import type { ProgressPort } from './progress-port.ts';

/**
 * One call of `run`, from its place in the queue to its end. To piscina it is the signal that stops the task: an
 * AbortController for each would cost a third of a round trip, and this is all that piscina asks of a signal.
 */
export class Job {
  readonly input: unknown;
  readonly name: string;
  readonly transfer: readonly TransferListItem[];
  readonly progress: ProgressPort | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** By the clock, of a task that has the pool's own time-out. */
  deadline: number = Number.POSITIVE_INFINITY;
  /** Of a task that has its own. */
  timer: unknown;
  removeAbort: (() => void) | undefined;
  /** Its caller has been told what it came to. */
  settled = false;
  /** Told as soon as its thread is free, which is before the promise that piscina gave says so. */
  onThreadFree: (() => void) | undefined;
  aborted = false;
  #stop: (() => void) | undefined;

  constructor(
    call: Pick<Job, 'input' | 'name' | 'transfer' | 'progress'>,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    this.input = call.input;
    this.name = call.name;
    this.transfer = call.transfer;
    this.progress = call.progress;
    this.resolve = resolve;
    this.reject = reject;
  }

  /** Stops the task, and the thread that runs it. */
  stop(): void {
    this.aborted = true;
    this.#stop?.();
  }

  addEventListener(_name: 'abort', listener: () => void): void {
    this.#stop = listener;
  }

  /** piscina takes its listener away when there is nothing to be stopped any more. */
  removeEventListener(): void {
    this.#stop = undefined;
    this.onThreadFree?.();
  }
}
