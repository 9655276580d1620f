// biome-ignore-all lint/suspicious/noExplicitAny: a task may take and give anything.

/** What a task is given beside its input. */
export interface WorkerContext<Progress = unknown> {
  /** Tells the caller's `onProgress` how far the task is, also in the middle of a computation; without one it does nothing. */
  progress(value: Progress): void;
}

/** A task as its worker file writes it: what comes in and goes out is copied between the threads. */
export type WorkerTask = (input: any, context: WorkerContext<any>) => any;

/** The tasks of a worker file by name; `default` is the one that runs when no name is given. */
export type WorkerTasks = { readonly [name: string]: WorkerTask };

/**
 * Declares the tasks of a worker file: `export default defineWorker({ … })`. It gives back what it gets, checked, so that
 * `WorkerPool<typeof import('./tasks.ts')['default']>` knows names, inputs, results and progress.
 */
export function defineWorker<Tasks extends WorkerTask | WorkerTasks>(tasks: Tasks): Tasks {
  const named: readonly [string, unknown][] = typeof tasks === 'function' ? [] : Object.entries(tasks);
  for (const [name, task] of named) {
    if (typeof task !== 'function') {
      throw new TypeError(`@x/pools: defineWorker: task "${name}" must be a function, got ${typeof task}`);
    }
  }
  return tasks;
}
