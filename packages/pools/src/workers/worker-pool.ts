import { AsyncLocalStorage } from 'node:async_hooks';
import type { TransferListItem } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs, numberOption } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import type { WorkerContext, WorkerTasks } from './define-worker.ts';
import { type WorkerPoolOptions, workerPoolSettings } from './pool-options.ts';
import { ProgressPort } from './progress-port.ts';
import { StopSignal } from './stop-signal.ts';
import { threadError } from './thread-error.ts';

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

export interface WorkerPoolStats {
  threads: number;
  idle: number;
  running: number;
  queued: number;
  completed: number;
  failed: number;
  timedOut: number;
  replaced: number;
  /** Errors and exits of tasks that were over already. */
  late: number;
}

/** What `onProgress` is told of by a task. */
type ProgressOf<Task extends (...args: never) => unknown> =
  Parameters<Task>[1] extends WorkerContext<infer Progress> ? Progress : unknown;

interface Job {
  readonly input: unknown;
  readonly name: string;
  readonly transfer: readonly TransferListItem[];
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: unknown;
  readonly removeAbort: (() => void) | undefined;
  readonly stop: StopSignal;
  readonly progress: ProgressPort | undefined;
  started: boolean;
}

/** CPU work in threads: bounded, and stopped for good when its caller has given up. */
export class WorkerPool<Tasks extends WorkerTasks = WorkerTasks> implements AsyncDisposable {
  readonly name: string;
  readonly #piscina: Piscina;
  readonly #clock: Clock;
  readonly #maxThreads: number;
  readonly #maxQueue: number;
  readonly #timeoutMs: number;
  readonly #waiting = new Set<Job>();
  readonly #running = new Set<Job>();
  // A thread outlives the task it was started for: it belongs to the pool's context, not to that caller's.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #completed = 0;
  #failed = 0;
  #timedOut = 0;
  #replaced = 0;
  #late = 0;
  readonly #lateListeners = new Set<(error: unknown) => void>();
  #destroyed = 0;
  #closed: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: WorkerPoolOptions) {
    const settings = workerPoolSettings(options);
    this.name = settings.name;
    this.#clock = settings.clock;
    this.#maxThreads = settings.maxThreads;
    this.#maxQueue = settings.maxQueue;
    this.#timeoutMs = settings.timeoutMs;
    this.#piscina = new Piscina(settings.piscina);
    this.#piscina.on('workerDestroy', () => {
      this.#destroyed++;
      // A thread that ends as it loads the file is no error to piscina, and the tasks given to it would wait for ever.
      setImmediate(() => this.#onNoThreads());
    });
    this.#piscina.on('error', (error: Error) => this.#onNoThreads(error));
    this.#piscina.on('message', (message: { late?: unknown } | null) => {
      if (typeof message === 'object' && message !== null && 'late' in message) this.#onLate(message.late);
    });
  }

  /** Runs a task in a thread. Its own error rejects as it was thrown. */
  async run<Name extends keyof Tasks & string = 'default'>(
    input: Parameters<Tasks[Name]>[0],
    options: WorkerRunOptions<Name, ProgressOf<Tasks[Name]>> = {},
  ): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#closed !== undefined) throw this.#closedError();
    const timeoutMs = numberOption('WorkerPool.run', 'timeoutMs', options.timeoutMs, this.#timeoutMs, {
      min: 1,
      infinity: true,
    });
    if (this.#running.size >= this.#maxThreads && this.#waiting.size >= this.#maxQueue) {
      throw new PoolError(
        'ERR_OVERLOADED',
        `WorkerPool ${this.name}: ${this.#running.size} tasks run and ${this.#waiting.size} wait already`,
        { retryAfterMs: 1_000 },
      );
    }
    return new Promise<unknown>((resolve, reject) => {
      const job: Job = {
        input,
        name: options.name ?? 'default',
        transfer: options.transfer ?? [],
        resolve,
        reject,
        timer:
          timeoutMs > longestTimerMs
            ? undefined
            : this.#clock.setTimeout(() => {
                this.#timedOut++;
                const text = `WorkerPool ${this.name}: the task did not end within ${timeoutMs} ms`;
                this.#stop(job, new PoolError('ERR_TIMEOUT', text));
              }, timeoutMs),
        removeAbort: signal === undefined ? undefined : onAbort(signal, () => this.#stop(job, signal.reason)),
        stop: new StopSignal(),
        progress:
          options.onProgress === undefined
            ? undefined
            : new ProgressPort(options.onProgress as (value: unknown) => void),
        started: false,
      };
      this.#waiting.add(job);
      this.#pump();
    }) as Promise<Awaited<ReturnType<Tasks[Name]>>>;
  }

  stats(): WorkerPoolStats {
    const threads = this.#piscina.threads.length;
    return {
      threads,
      idle: Math.max(0, threads - this.#running.size),
      running: this.#running.size,
      queued: this.#waiting.size,
      completed: this.#completed,
      failed: this.#failed,
      timedOut: this.#timedOut,
      replaced: this.#replaced,
      late: this.#late,
    };
  }

  /**
   * `late`: a task that was over has thrown, left a rejection unhandled or called `process.exit`. The task that its thread
   * ran meanwhile goes on. Returns what takes the listener away.
   */
  on(_event: 'late', listener: (error: unknown) => void): () => void {
    this.#lateListeners.add(listener);
    return () => this.#lateListeners.delete(listener);
  }

  /** Refuses new tasks and those that wait, lets running ones end (at most `timeoutMs`, default 10,000), then stops them. */
  close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(numberOption('WorkerPool.close', 'timeoutMs', options.timeoutMs, 10_000, { min: 0 }));
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(timeoutMs: number): Promise<void> {
    for (const job of [...this.#waiting]) this.#stop(job, this.#closedError());
    if (this.#running.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimeout(resolve, timeoutMs);
        this.#onIdle = () => {
          this.#clock.clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const job of [...this.#running]) this.#stop(job, this.#closedError());
    await this.#piscina.destroy();
  }

  /** Tasks wait here and not in piscina, which is given one for each thread: so the one whose caller left is gone at once. */
  #pump(): void {
    for (const job of this.#waiting) {
      if (this.#running.size >= this.#maxThreads) return;
      this.#waiting.delete(job);
      this.#running.add(job);
      job.started = true;
      try {
        this.#inOwnContext(() => this.#start(job));
      } catch (error) {
        this.#fail(job, error);
      }
    }
  }

  #start(job: Job): void {
    const { name, stop, progress } = job;
    let { input } = job;
    const transferList = [...job.transfer];
    if (isMoved(input)) {
      transferList.push(input[Piscina.transferableSymbol] as TransferListItem);
      input = input[Piscina.valueSymbol];
    }
    if (progress !== undefined) transferList.push(progress.remote);
    const envelope = progress === undefined ? [name, input] : [name, input, progress.remote];
    this.#piscina.run(envelope, transferList.length === 0 ? { signal: stop } : { signal: stop, transferList }).then(
      (value) => {
        if (!this.#finish(job)) return;
        job.progress?.finish();
        this.#completed++;
        job.resolve(value);
      },
      (error: unknown) => {
        if (!this.#finish(job)) return;
        job.progress?.finish();
        this.#failed++;
        const told = threadError(error, this.name, name);
        if (told.lost) this.#replaced++;
        job.reject(told.error);
      },
    );
  }

  #stop(job: Job, reason: unknown): void {
    if (!this.#finish(job)) return;
    job.progress?.close();
    job.reject(reason);
    const before = this.#destroyed;
    if (job.started) job.stop.abort();
    if (this.#destroyed > before) this.#replaced++;
  }

  /** Takes the job out of the books, once. */
  #finish(job: Job): boolean {
    if (!this.#running.delete(job) && !this.#waiting.delete(job)) return false;
    this.#clock.clearTimeout(job.timer);
    job.removeAbort?.();
    // After the caller has been told, and after piscina has put a new thread in the place of a stopped one.
    if (this.#waiting.size > 0 || this.#onIdle !== undefined) {
      queueMicrotask(() => {
        this.#pump();
        if (this.#running.size === 0) this.#onIdle?.();
      });
    }
    return true;
  }

  /** A thread failed or ended without a task. When none is left, what was given to it would wait for ever. */
  #onNoThreads(cause?: Error): void {
    if (this.#piscina.threads.length > 0) return;
    for (const job of [...this.#running]) {
      const error = new PoolError('ERR_WORKER_LOST', `WorkerPool ${this.name}: no worker could be started`, { cause });
      this.#fail(job, error);
      job.stop.abort();
    }
  }

  #fail(job: Job, error: unknown): void {
    if (!this.#finish(job)) return;
    job.progress?.close();
    this.#failed++;
    job.reject(error);
  }

  #onLate(error: unknown): void {
    this.#late++;
    for (const listener of this.#lateListeners) {
      try {
        listener(error);
      } catch {
        // A listener that throws is nobody's failure.
      }
    }
  }

  #closedError(): PoolError {
    return new PoolError('ERR_POOL_CLOSED', `WorkerPool ${this.name} is closed`);
  }
}

/** Wrapped by `move`: handed over instead of copied. */
function isMoved(input: unknown): input is { [key: symbol]: unknown } {
  return typeof input === 'object' && input !== null && Piscina.transferableSymbol in input;
}
