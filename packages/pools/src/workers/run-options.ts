import type { TransferListItem } from 'node:worker_threads';
import { checkCallOptions, checkFunction, numberOption, wrongType } from '../check-options.ts';
import type { WorkerContext } from './define-worker.ts';

export interface WorkerRunOptions<Name extends string = string, Progress = unknown> {
  /** Which task of the worker file runs. Default `default`. */
  name?: Name | undefined;
  /** Told of what the task reports by `context.progress(value)`, in order, before its result. What it throws is dropped. */
  onProgress?: ((value: Progress) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Total time of this task, waiting included. Milliseconds. Default: the pool's. */
  timeoutMs?: number | undefined;
  /** What is handed over instead of copied: the buffers of typed arrays, ports. They are no longer usable here. */
  transfer?: readonly TransferListItem[] | undefined;
}

/** What `onProgress` is told of by a task. */
export type ProgressOf<Task extends (...args: never) => unknown> =
  Parameters<Task>[1] extends WorkerContext<infer Progress> ? Progress : unknown;

export function checkRunOptions(options: WorkerRunOptions): void {
  checkCallOptions('WorkerPool.run', options);
  const { name, timeoutMs, onProgress } = options;
  if (name !== undefined && typeof name !== 'string') throw wrongType('WorkerPool.run.name', 'a string', name);
  if (onProgress !== undefined) checkFunction('WorkerPool.run.onProgress', onProgress);
  numberOption('WorkerPool.run', 'timeoutMs', timeoutMs, 1, { min: 1, infinity: true });
}
