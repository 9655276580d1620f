import { AsyncLocalStorage } from 'node:async_hooks';
import { Piscina } from 'piscina';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs, numberOption } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { CommonTimeout } from './common-timeout.ts';
import type { WorkerTasks } from './define-worker.ts';
import { Job } from './job.ts';
import { jobMessage } from './job-message.ts';
import { type WorkerPoolOptions, workerPoolSettings } from './pool-options.ts';
import { ProgressPort } from './progress-port.ts';
import { checkRunOptions, type ProgressOf, type WorkerRunOptions } from './run-options.ts';
import { threadError } from './thread-error.ts';

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
  readonly #commonTimeout: CommonTimeout;
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
  #pumping = false;

  constructor(options: WorkerPoolOptions) {
    const settings = workerPoolSettings(options);
    this.name = settings.name;
    this.#clock = settings.clock;
    this.#maxThreads = settings.maxThreads;
    this.#maxQueue = settings.maxQueue;
    this.#timeoutMs = settings.timeoutMs;
    this.#commonTimeout = new CommonTimeout(settings.clock, settings.timeoutMs, [this.#running, this.#waiting], (job) =>
      this.#timeOut(job, settings.timeoutMs),
    );
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
  run<Name extends keyof Tasks & string = 'default'>(
    input: Parameters<Tasks[Name]>[0],
    options: WorkerRunOptions<Name, ProgressOf<Tasks[Name]>> = {},
  ): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    try {
      return this.#enter(input, options as WorkerRunOptions) as Promise<Awaited<ReturnType<Tasks[Name]>>>;
    } catch (error) {
      return Promise.reject(error);
    }
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

  #enter(input: unknown, options: WorkerRunOptions): Promise<unknown> {
    checkRunOptions(options);
    const { signal, timeoutMs, onProgress } = options;
    signal?.throwIfAborted();
    if (this.#closed !== undefined) throw this.#closedError();
    const hasRoom = this.#running.size < this.#maxThreads;
    if (!hasRoom && this.#waiting.size >= this.#maxQueue) {
      throw new PoolError(
        'ERR_OVERLOADED',
        `WorkerPool ${this.name}: ${this.#running.size} tasks run and ${this.#waiting.size} wait already`,
        { retryAfterMs: 1_000 },
      );
    }
    return new Promise((resolve, reject) => {
      const job = new Job(
        {
          input,
          name: options.name ?? 'default',
          transfer: options.transfer ?? nothing,
          progress: onProgress === undefined ? undefined : new ProgressPort(onProgress),
        },
        resolve,
        reject,
      );
      this.#limit(job, timeoutMs);
      if (signal !== undefined) job.removeAbort = onAbort(signal, () => this.#stop(job, signal.reason));
      if (hasRoom) this.#start(job);
      else this.#waiting.add(job);
    });
  }

  /** Puts a bound to the time of the task. */
  #limit(job: Job, ownMs: number | undefined): void {
    const ms = ownMs ?? this.#timeoutMs;
    if (ms > longestTimerMs) return;
    if (ownMs === undefined) this.#commonTimeout.start(job);
    else job.timer = this.#clock.setTimeout(() => this.#timeOut(job, ms), ms);
  }

  #timeOut(job: Job, ms: number): void {
    this.#timedOut++;
    const text = `WorkerPool ${this.name}: the task did not end within ${ms} ms`;
    this.#stop(job, new PoolError('ERR_TIMEOUT', text));
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
    this.#commonTimeout.stop();
    await this.#piscina.destroy();
  }

  /** Tasks wait here and not in piscina, which is given one for each thread: so the one whose caller left is gone at once. */
  #pump(): void {
    // A task that cannot be sent frees its thread while it is being started.
    if (this.#pumping) return;
    this.#pumping = true;
    for (const job of this.#waiting) {
      if (this.#running.size >= this.#maxThreads) break;
      this.#waiting.delete(job);
      this.#start(job);
    }
    this.#pumping = false;
    if (this.#running.size === 0) this.#onIdle?.();
  }

  #start(job: Job): void {
    this.#running.add(job);
    job.onThreadFree = () => {
      if (this.#leave(job)) this.#pump();
    };
    try {
      this.#inOwnContext(() => this.#send(job));
    } catch (error) {
      this.#fail(job, error);
    }
  }

  #send(job: Job): void {
    const { entry, body, transferList } = jobMessage(job);
    this.#piscina.run(body, { name: entry, signal: job, transferList }).then(
      (value) => {
        if (!this.#settle(job)) return;
        job.progress?.finish();
        this.#completed++;
        job.resolve(value);
      },
      (error: unknown) => {
        if (!this.#settle(job)) return;
        job.progress?.finish();
        this.#failed++;
        const told = threadError(error, this.name, job.name);
        if (told.lost) this.#replaced++;
        job.reject(told.error);
      },
    );
  }

  #stop(job: Job, reason: unknown): void {
    if (!this.#settle(job)) return;
    job.progress?.close();
    job.reject(reason);
    const before = this.#destroyed;
    // A thread that piscina starts in the place of the stopped one is not the caller's either.
    this.#inOwnContext(() => job.stop());
    if (this.#destroyed > before) this.#replaced++;
    this.#pump();
  }

  /** Takes the job out of the books. False if its caller has been told already. */
  #settle(job: Job): boolean {
    if (job.settled) return false;
    job.settled = true;
    this.#leave(job);
    return true;
  }

  /** Its thread is free, or it waits for none any more. */
  #leave(job: Job): boolean {
    if (!this.#running.delete(job) && !this.#waiting.delete(job)) return false;
    if (job.timer !== undefined) this.#clock.clearTimeout(job.timer);
    job.removeAbort?.();
    return true;
  }

  /** A thread failed or ended without a task. When none is left, what was given to it would wait for ever. */
  #onNoThreads(cause?: Error): void {
    if (this.#piscina.threads.length > 0) return;
    for (const job of [...this.#running]) {
      const error = new PoolError('ERR_WORKER_LOST', `WorkerPool ${this.name}: no worker could be started`, { cause });
      this.#fail(job, error);
      job.stop();
    }
  }

  #fail(job: Job, error: unknown): void {
    if (!this.#settle(job)) return;
    job.progress?.close();
    this.#failed++;
    job.reject(error);
    this.#pump();
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

const nothing: readonly never[] = [];
