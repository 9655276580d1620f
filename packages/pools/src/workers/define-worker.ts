import { isMainThread } from 'node:worker_threads';

/** A task as its worker file writes it. */
// biome-ignore lint/suspicious/noExplicitAny: any function of one argument is a task, whatever its types.
export type WorkerTask = (input: any) => unknown;

/** The tasks of a worker file by name; `default` is the one that runs when no name is given. */
export type WorkerTasks = Readonly<Record<string, WorkerTask>>;

/**
 * Declares the tasks of a worker file, so that the pool knows their types:
 *
 *     // statistics.ts
 *     export const { mean } = defineWorker({ mean: (numbers: Float64Array) => … });
 *     export type Tasks = WorkerTasksOf<typeof worker>;
 *
 * It gives back what it gets; every task must be exported under its name, since that is how the thread finds it.
 */
export function defineWorker<Tasks extends WorkerTasks>(tasks: Tasks): Tasks {
  for (const [name, task] of Object.entries(tasks)) {
    if (typeof task !== 'function') {
      throw new TypeError(`@x/pools: defineWorker: task "${name}" must be a function, got ${typeof task}`);
    }
  }
  return tasks;
}

/** Whether this module runs in a thread of a pool. */
export const inWorker: boolean = !isMainThread;
