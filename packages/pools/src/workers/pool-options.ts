import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { ResourceLimits } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { numberOption, wrongType } from '../check-options.ts';
import { type Clock, systemClock } from '../clock.ts';

export interface WorkerPoolOptions {
  /**
   * The worker file, whose exports are the tasks; of a default export that is an object, its members. JavaScript, or
   * TypeScript where Node itself runs it (22.18 and later). An absolute path, a `file:` URL or its text.
   */
  filename: string | URL;
  /** In errors and metrics. Default `workers`. */
  name?: string | undefined;
  /** Threads at most. Default: the processors but one, from 1. */
  maxThreads?: number | undefined;
  /** Threads that are started at once and kept. Default 1, from 0. */
  minThreads?: number | undefined;
  /** How long a thread above `minThreads` is kept without work. Milliseconds, default 30,000. */
  maxIdleMs?: number | undefined;
  /** Tasks that may wait for a thread; one more is refused with ERR_OVERLOADED. Default 1,000, from 0. */
  maxQueue?: number | undefined;
  /** Total time of a task, waiting included. Milliseconds, default 30,000; Infinity for none. */
  timeoutMs?: number | undefined;
  /** Limits of memory for each thread, in MiB; a task above them fails, the process goes on. Default: those of Node. */
  resourceLimits?: ResourceLimits | undefined;
  /** What the threads find as `workerData`. */
  workerData?: unknown;
  /** The environment of the threads. Default: a copy of the process's. */
  env?: Record<string, string> | undefined;
  /** Time. Default: the process's own. */
  clock?: Clock | undefined;
}

/** The options, checked, with the defaults in their places. */
export interface WorkerPoolSettings {
  readonly name: string;
  readonly maxThreads: number;
  readonly maxQueue: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly piscina: ConstructorParameters<typeof Piscina>[0];
}

export function workerPoolSettings(options: WorkerPoolOptions): WorkerPoolSettings {
  checkKinds(options);
  const number = (option: keyof WorkerPoolOptions, fallback: number, rule: Parameters<typeof numberOption>[4]) =>
    numberOption('WorkerPool', option, options[option] as number | undefined, fallback, rule);
  const maxThreads = number('maxThreads', Math.max(1, availableParallelism() - 1), { min: 1, integer: true });
  const minThreads = number('minThreads', 1, { min: 0, integer: true });
  if (minThreads > maxThreads) {
    throw new RangeError(
      `@x/pools: WorkerPool.minThreads must not be above maxThreads (${maxThreads}), got ${minThreads}`,
    );
  }
  return {
    name: options.name ?? 'workers',
    maxThreads,
    maxQueue: number('maxQueue', 1_000, { min: 0, integer: true, infinity: true }),
    timeoutMs: number('timeoutMs', 30_000, { min: 1, infinity: true }),
    clock: options.clock ?? systemClock,
    piscina: {
      filename: taskLoader,
      name: 'task:default',
      argv: [workerFile(options.filename)],
      minThreads,
      maxThreads,
      idleTimeout: number('maxIdleMs', 30_000, { min: 0, infinity: true }),
      ...(options.resourceLimits === undefined ? {} : { resourceLimits: options.resourceLimits }),
      ...(options.workerData === undefined ? {} : { workerData: options.workerData }),
      ...(options.env === undefined ? {} : { env: options.env }),
      recordTiming: false,
    },
  };
}

const taskLoader = fileURLToPath(new URL('../../task-loader.cjs', import.meta.url));

function checkKinds(options: WorkerPoolOptions): void {
  if (typeof options !== 'object' || options === null) throw wrongType('WorkerPool.options', 'an object', options);
  const { filename, name, resourceLimits, env } = options;
  if (typeof filename !== 'string' && !(filename instanceof URL)) {
    throw wrongType('WorkerPool.filename', 'a path or a URL', filename);
  }
  if (name !== undefined && typeof name !== 'string') throw wrongType('WorkerPool.name', 'a string', name);
  for (const [option, value] of Object.entries({ resourceLimits, env })) {
    if (value === undefined || (typeof value === 'object' && value !== null)) continue;
    throw wrongType(`WorkerPool.${option}`, 'an object', value);
  }
  for (const [limit, value] of Object.entries(resourceLimits ?? {})) {
    // Node ignores one that is no number.
    numberOption('WorkerPool', `resourceLimits.${limit}`, value, 0, { min: 0 });
  }
  try {
    structuredClone(options.workerData);
  } catch (cause) {
    const text =
      '@x/pools: WorkerPool.workerData must be what can be copied to a thread, without functions and the like';
    throw new TypeError(text, { cause });
  }
}

function workerFile(filename: string | URL): string {
  const path = filename instanceof URL || filename.startsWith('file:') ? fileURLToPath(filename) : filename;
  if (!existsSync(path))
    throw new TypeError(`@x/pools: WorkerPool.filename must be a worker file, got ${path}, which does not exist`);
  return path;
}
