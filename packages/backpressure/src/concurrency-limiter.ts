import { AbandonedWork } from './abandoned-work.ts';
import { type AdaptiveLimit, limitAfterStall, limitAfterWork, wholeLimit } from './adaptive-limit.ts';
import { beginWork } from './begin-work.ts';
import { outcomeOf } from './classify-outcome.ts';
import type { Clock } from './clock.ts';
import { OverloadedError } from './errors.ts';
import { IdleWaiters } from './idle-waiters.ts';
import { LateShare } from './late-share.ts';
import { runLeavable } from './leavable-run.ts';
import {
  type AcquireOptions,
  type ConcurrencyLimiterOptions,
  checkAcquireOptions,
  checkedLimiterOptions,
  type LimiterStats,
  type RunOptions,
} from './limiter-options.ts';
import { LimiterQueue } from './limiter-queue.ts';
import { checkAtLeast, checkCount, refuse } from './option-checks.ts';
import { type GiveBack, OneShotPermit, type Outcome, type Permit } from './permit.ts';
import { RetryEstimate } from './retry-estimate.ts';
import { UnabortableContext, type Work } from './run-context.ts';
import { RunTimes } from './run-times.ts';
import { SampledClock } from './sampled-clock.ts';
import { timerMs } from './timer-ms.ts';
import type { Waiter } from './waiter.ts';

/** At most `limit` at a time; at most `maxQueue` wait; the rest is refused at once and told when to come back. */
export class ConcurrencyLimiter implements AsyncDisposable {
  #limit: number;
  readonly #adaptive: AdaptiveLimit | undefined;
  readonly #maxQueue: number;
  readonly #classify: NonNullable<ConcurrencyLimiterOptions['classify']>;
  readonly #name: string;
  readonly #clock: Clock;

  readonly #runTimes = new RunTimes();
  readonly #time: SampledClock;
  readonly #waiting: LimiterQueue;
  readonly #giveBack: GiveBack = (startedAt, inFlight, outcome) => this.#leave(startedAt, inFlight, outcome);
  readonly #late = new LateShare(0.5);
  readonly #retry: RetryEstimate;
  readonly #idle = new IdleWaiters();
  readonly #abandoned = new AbandonedWork();
  /** Calls that have ended and were not timed, since one was. */
  #untimed = 0;
  #closed = false;

  #inFlight = 0;
  #admitted = 0;
  #completed = 0;
  #queueWaitMs = 0;
  #runMs = 0;
  readonly #rejected: LimiterStats['rejected'] = { queue_full: 0, queue_timeout: 0, deadline: 0, shed: 0, draining: 0 };

  constructor(options: ConcurrencyLimiterOptions) {
    const { limit, maxQueue, queueTimeoutMs, order, classify, name, clock, random } = checkedLimiterOptions(options);
    if (typeof limit === 'object') this.#adaptive = limit;
    this.#limit = typeof limit === 'number' ? limit : wholeLimit(limit.limit);
    this.#maxQueue = maxQueue;
    this.#classify = classify;
    this.#name = name;
    this.#clock = clock;
    this.#time = new SampledClock(clock, this.#runTimes, this.#adaptive !== undefined);
    this.#retry = new RetryEstimate(this.#runTimes, random, this.#time.latest);
    this.#waiting = new LimiterQueue({
      maxQueue,
      queueTimeoutMs,
      order,
      clock,
      runTimes: this.#runTimes,
      limit: () => this.#limit,
      refusal: (reason, now) => this.#overloaded(reason, now),
    });
  }

  /** Runs `fn` when it is its turn. Rejects with ERR_OVERLOADED if that never comes, else settles as `fn` does. */
  run<T>(fn: Work<T>, options?: RunOptions): Promise<T> {
    if (options !== undefined) return this.#runWith(fn, options);
    const startedAt = this.#tryEnter(undefined);
    if (startedAt !== undefined) return this.#runNow(fn, startedAt);
    // The callback runs in the caller's AsyncLocalStorage context, and is one for all: nothing else is made per waiter.
    return this.#queue(undefined, fn).then(this.#runWaiter) as Promise<T>;
  }

  // Closures for each call would be compiled again after each full collection, while the calls run uncompiled.
  readonly #runWaiter = ({ work, startedAt }: Waiter): Promise<unknown> =>
    Number.isNaN(startedAt)
      ? beginWork(work as Work, new UnabortableContext(), this.#endUntimed, this.#failUntimed)
      : this.#runNow(work as Work, startedAt);

  readonly #endUntimed = <T>(value: T): T => {
    this.#leave(Number.NaN, 0, 'success');
    return value;
  };

  readonly #failUntimed = (error: unknown): never => {
    this.#leave(Number.NaN, 0, 'success');
    throw error;
  };

  async #runNow<T>(fn: Work<T>, startedAt: number, options?: RunOptions): Promise<T> {
    const inFlight = this.#inFlight;
    let value: T;
    try {
      value = await fn(new UnabortableContext());
    } catch (error) {
      this.#leave(startedAt, inFlight, outcomeOf({ error }, this.#classify), options);
      throw error;
    }
    // Without an adaptive limit there is nothing a value could tell.
    const outcome = this.#adaptive === undefined ? 'success' : outcomeOf({ value }, this.#classify);
    this.#leave(startedAt, inFlight, outcome, options);
    return value;
  }

  /** A permit now, or undefined if there is none or others wait for one. */
  tryAcquire(): Permit | undefined {
    const startedAt = this.#tryEnter(undefined);
    return startedAt === undefined ? undefined : this.#permit(startedAt);
  }

  /** A permit as soon as there is one. Rejects with ERR_OVERLOADED, or with the signal's reason. */
  async acquire(options?: AcquireOptions): Promise<Permit> {
    if (options !== undefined) checkAcquireOptions(options);
    options?.signal?.throwIfAborted();
    const startedAt = this.#tryEnter(options) ?? (await this.#queue(options)).startedAt;
    const permit = this.#permit(startedAt);
    if (options?.signal?.aborted) {
      permit.ignore();
      throw options.signal.reason;
    }
    return permit;
  }

  #permit(startedAt: number): Permit {
    return new OneShotPermit(this.#giveBack, this.#abandoned, startedAt, this.#inFlight);
  }

  /** How much may be in flight now. */
  get limit(): number {
    return this.#limit;
  }

  /** Changes the limit. A larger one lets waiters in at once; under a smaller one what runs may end in peace. */
  setLimit(limit: number): void {
    if (this.#adaptive !== undefined) refuse('setLimit', 'used with a fixed limit only, this one adapts itself', limit);
    checkCount('limit', limit, 1, true);
    this.#limit = limit;
    this.#letIn(this.#time.now());
  }

  /** Resolves when nothing runs and nothing waits. */
  onIdle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return this.#idle.wait();
  }

  stats(): LimiterStats {
    return {
      limit: this.#limit,
      inFlight: this.#inFlight,
      queued: this.#waiting.size,
      maxQueue: this.#maxQueue,
      healthy: !this.#closed && (this.#maxQueue === 0 ? this.#inFlight < this.#limit : this.#waiting.hasRoom),
      admitted: this.#admitted,
      completed: this.#completed,
      abandoned: this.#abandoned.total,
      abandonedInFlight: this.#abandoned.inFlight,
      rejected: { ...this.#rejected },
      queueWaitMs: this.#queueWaitMs,
      runMs: this.#runMs,
    };
  }

  /**
   * Refuses new work and all that waits (reason `draining`), and resolves when what runs has ended, at the latest after
   * `timeoutMs` (default: no bound).
   */
  async close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    const { timeoutMs } = options;
    if (timeoutMs !== undefined) checkAtLeast('timeoutMs', timeoutMs, 0);
    this.#closed = true;
    this.#waiting.refuseAll('draining');
    if (this.#isIdle) return;
    await (timeoutMs === undefined ? this.#idle.wait() : this.#idle.waitAtMost(timeoutMs, this.#clock));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #isIdle(): boolean {
    return this.#inFlight === 0 && this.#waiting.size === 0;
  }

  /** Takes a permit that is free and returns when that was; undefined if none is. While anybody waits none is free, so nobody is overtaken. */
  #tryEnter(options: AcquireOptions | undefined): number | undefined {
    if (options?.deadlineMs !== undefined) this.#time.timesAll = true;
    if (this.#inFlight >= this.#limit || this.#closed) return undefined;
    // Not refused by the estimate while a permit is free: then nothing would run, and the estimate never improve.
    if (options?.deadlineMs !== undefined && !(options.deadlineMs > 0)) return undefined;
    this.#inFlight++;
    this.#admitted++;
    return this.#start();
  }

  /** When work that starts now has started; NaN if it is not timed. */
  #start(): number {
    const startedAt = this.#time.start();
    this.#retry.moved(startedAt);
    return startedAt;
  }

  /** Waits for a permit. */
  #queue(options: AcquireOptions | undefined, work?: Work): Promise<Waiter> {
    const now = this.#time.arrival();
    if (this.#closed) return Promise.reject(this.#overloaded('draining', now));
    const granted = this.#waiting.enter(options, now, work);
    if (this.#adaptive?.stalled !== undefined && this.#retry.isStalled(now)) {
      this.#limit = limitAfterStall(this.#adaptive, this.#limit, now);
      this.#letIn(now);
    }
    return granted;
  }

  /** Gives a permit back and lets others in. */
  #leave(startedAt: number, inFlight: number, outcome: Outcome, options?: RunOptions): void {
    this.#inFlight--;
    this.#completed++;
    const untimed = Number.isNaN(startedAt);
    if (untimed) {
      this.#untimed++;
      this.#retry.moved(Number.NaN);
    } else this.#timed(startedAt, inFlight, outcome, options);
    if (this.#waiting.size > 0) this.#letIn(untimed && this.#time.timesAll ? this.#time.now() : this.#time.latest);
    else if (this.#inFlight === 0 && this.#idle.any) this.#idle.tell();
  }

  /** Takes in how long work took; it stands for those before it that were not timed. */
  #timed(startedAt: number, inFlight: number, outcome: Outcome, options: RunOptions | undefined): void {
    const now = this.#time.now();
    // A clock that is set back must not take away from sums.
    const runMs = Math.max(0, now - startedAt);
    this.#runMs += runMs * (1 + this.#untimed);
    this.#untimed = 0;
    this.#runTimes.add(runMs, outcome === 'ignore');
    this.#retry.moved(now);
    if (this.#adaptive === undefined) return;
    const seen = this.#late.judge(outcome, runMs, options, this.#limit);
    if (seen === 'ignore') return;
    this.#limit = limitAfterWork(this.#adaptive, this.#limit, now, runMs, inFlight, seen === 'failure');
  }

  #letIn(now: number): void {
    while (this.#inFlight < this.#limit) {
      const waiter = this.#waiting.next(now);
      if (waiter === undefined) break;
      this.#inFlight++;
      this.#admitted++;
      this.#queueWaitMs += Math.max(0, now - waiter.arrivedAt);
      waiter.startedAt = this.#start();
      waiter.grant(waiter);
    }
    if (this.#isIdle && this.#idle.any) this.#idle.tell();
  }

  #overloaded(reason: keyof LimiterStats['rejected'], now: number): OverloadedError {
    this.#rejected[reason]++;
    return new OverloadedError(reason, this.#retry.retryAfterMs(now, this.#waiting.size, this.#limit), this.#name);
  }

  async #runWith<T>(fn: Work<T>, options: RunOptions): Promise<T> {
    const { signal } = options;
    checkAcquireOptions(options);
    if (options.timeoutMs !== undefined) checkAtLeast('timeoutMs', options.timeoutMs, 0);
    // No bound is none at all.
    const timeoutMs = options.timeoutMs === Number.POSITIVE_INFINITY ? undefined : options.timeoutMs;
    signal?.throwIfAborted();
    const startedAt = this.#tryEnter(options) ?? (await this.#queue(options)).startedAt;
    if (signal === undefined && timeoutMs === undefined) return this.#runNow(fn, startedAt, options);
    const inFlight = this.#inFlight;
    if (signal?.aborted) {
      this.#leave(startedAt, inFlight, 'ignore');
      throw signal.reason;
    }
    return runLeavable(fn, {
      signal,
      timeoutMs: timeoutMs === undefined ? undefined : timerMs(timeoutMs),
      clock: this.#clock,
      what: this.#name,
      onLeft: () => this.#abandoned.left(),
      onEnded: (ending) => {
        if (ending.leftBy !== undefined) this.#abandoned.ended();
        this.#leave(startedAt, inFlight, outcomeOf(ending, this.#classify), options);
      },
    });
  }
}
