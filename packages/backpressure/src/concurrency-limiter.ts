import type { AdaptiveLimit } from './adaptive-limit.ts';
import { type Clock, systemClock } from './clock.ts';
import { OverloadedError } from './errors.ts';
import { type Ending, runLeavable } from './leavable-run.ts';
import type { AcquireOptions, ConcurrencyLimiterOptions, LimiterStats, RunOptions } from './limiter-options.ts';
import { LimiterQueue } from './limiter-queue.ts';
import {
  checkAtLeast,
  checkClock,
  checkCount,
  checkFunction,
  checkOneOf,
  checkString,
  refuse,
} from './option-checks.ts';
import { type GiveBack, OneShotPermit, type Outcome, type Permit } from './permit.ts';
import { type RunContext, UnabortableContext } from './run-context.ts';
import { RunTimes } from './run-times.ts';
import { SampledClock } from './sampled-clock.ts';
import { timerMs } from './timer-ms.ts';
import type { Waiter } from './waiting-room.ts';

/** At most `limit` at a time; at most `maxQueue` wait; the rest is refused at once and told when to come back. */
export class ConcurrencyLimiter implements AsyncDisposable {
  #limit: number;
  readonly #adaptive: AdaptiveLimit | undefined;
  readonly #maxQueue: number;
  readonly #classify: NonNullable<ConcurrencyLimiterOptions['classify']>;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #random: () => number;

  readonly #runTimes = new RunTimes();
  readonly #time: SampledClock;
  readonly #waiting: LimiterQueue;
  readonly #giveBack: GiveBack = (startedAt, inFlight, outcome) => this.#leave(startedAt, inFlight, outcome);
  /** When work last started or ended, as far as that was timed; and whether more did since. */
  #lastMoveAt: number;
  #movedSince = false;
  /** Calls that have ended and were not timed, since one was. */
  #untimed = 0;
  #closed = false;
  #whenIdle: (() => void)[] = [];

  #inFlight = 0;
  #admitted = 0;
  #completed = 0;
  #abandoned = 0;
  #abandonedInFlight = 0;
  #queueWaitMs = 0;
  #runMs = 0;
  readonly #rejected: LimiterStats['rejected'] = { queue_full: 0, queue_timeout: 0, deadline: 0, shed: 0, draining: 0 };

  constructor(options: ConcurrencyLimiterOptions) {
    const { limit, maxQueue = 1_000, queueTimeoutMs = 30_000, classify = classifyByCode, name = 'limiter' } = options;
    const { clock = systemClock, random = Math.random } = options;
    if (typeof limit === 'object' && limit !== null) this.#adaptive = checkedAdaptive(limit);
    else checkCount('limit', limit, 1, true);
    const { order = this.#adaptive === undefined ? 'fifo' : 'adaptive' } = options;
    checkCount('maxQueue', maxQueue, 0, true);
    checkAtLeast('queueTimeoutMs', queueTimeoutMs, 0);
    checkOneOf('order', order, ['fifo', 'lifo', 'adaptive']);
    checkFunction('classify', classify);
    if (options.classify !== undefined && this.#adaptive === undefined) {
      refuse('classify', 'left out where the limit is a number, which nothing adapts', classify);
    }
    checkString('name', name);
    checkClock(clock);
    checkFunction('random', random);
    this.#limit = typeof limit === 'number' ? limit : limit.limit;
    this.#maxQueue = maxQueue;
    this.#classify = classify;
    this.#name = name;
    this.#clock = clock;
    this.#random = random;
    this.#time = new SampledClock(clock, this.#runTimes, this.#adaptive !== undefined);
    this.#lastMoveAt = this.#time.latest;
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
  run<T>(fn: (context: RunContext) => T | PromiseLike<T>, options?: RunOptions): Promise<T> {
    if (options !== undefined) return this.#runWith(fn, options);
    const startedAt = this.#tryEnter(undefined);
    if (startedAt !== undefined) return this.#runNow(fn, startedAt);
    // The callback runs in the caller's AsyncLocalStorage context, and is one for all: nothing else is made per waiter.
    return this.#queue(undefined, fn).then(this.#runWaiter) as Promise<T>;
  }

  readonly #runWaiter = ({ work, startedAt }: Waiter): Promise<unknown> =>
    this.#runNow(work as (context: RunContext) => unknown, startedAt);

  async #runNow<T>(fn: (context: RunContext) => T | PromiseLike<T>, startedAt: number): Promise<T> {
    const inFlight = this.#inFlight;
    let value: T;
    try {
      value = await fn(new UnabortableContext());
    } catch (error) {
      this.#leave(startedAt, inFlight, this.#adaptive === undefined ? 'success' : this.#judge({ error }));
      throw error;
    }
    this.#leave(startedAt, inFlight, this.#adaptive === undefined ? 'success' : this.#judge({ value }));
    return value;
  }

  /** A permit now, or undefined if there is none or others wait for one. */
  tryAcquire(): Permit | undefined {
    const startedAt = this.#tryEnter(undefined);
    return startedAt === undefined ? undefined : new OneShotPermit(this.#giveBack, startedAt, this.#inFlight);
  }

  /** A permit as soon as there is one. Rejects with ERR_OVERLOADED, or with the signal's reason. */
  async acquire(options?: AcquireOptions): Promise<Permit> {
    options?.signal?.throwIfAborted();
    const startedAt = this.#tryEnter(options) ?? (await this.#queue(options)).startedAt;
    const permit = new OneShotPermit(this.#giveBack, startedAt, this.#inFlight);
    if (options?.signal?.aborted) {
      permit.ignore();
      throw options.signal.reason;
    }
    return permit;
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
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  stats(): LimiterStats {
    return {
      limit: this.#limit,
      inFlight: this.#inFlight,
      queued: this.#waiting.size,
      maxQueue: this.#maxQueue,
      healthy: this.#isHealthy,
      admitted: this.#admitted,
      completed: this.#completed,
      abandoned: this.#abandoned,
      abandonedInFlight: this.#abandonedInFlight,
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
    const idle = this.onIdle();
    if (timeoutMs === undefined || this.#isIdle) return idle;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimeout(resolve, timerMs(timeoutMs));
      void idle.then(() => {
        this.#clock.clearTimeout(timer);
        resolve();
      });
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #isHealthy(): boolean {
    if (this.#closed) return false;
    return this.#maxQueue === 0 ? this.#inFlight < this.#limit : this.#waiting.size < healthyBelow * this.#maxQueue;
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
    if (Number.isNaN(startedAt)) this.#movedSince = true;
    else this.#lastMoveAt = startedAt;
    return startedAt;
  }

  /** Waits for a permit. */
  #queue(options: AcquireOptions | undefined, work?: (context: RunContext) => unknown): Promise<Waiter> {
    const now = this.#time.arrival();
    return this.#closed ? Promise.reject(this.#overloaded('draining', now)) : this.#waiting.enter(options, now, work);
  }

  /** Gives a permit back and lets others in. */
  #leave(startedAt: number, inFlight: number, outcome: Outcome): void {
    this.#inFlight--;
    this.#completed++;
    const untimed = Number.isNaN(startedAt);
    if (untimed) {
      this.#untimed++;
      this.#movedSince = true;
    } else this.#timed(startedAt, inFlight, outcome);
    if (this.#waiting.size > 0) this.#letIn(untimed && this.#time.timesAll ? this.#time.now() : this.#time.latest);
    else if (this.#inFlight === 0 && this.#whenIdle.length > 0) this.#tellIdle();
  }

  /** Takes in how long work took; it stands for those before it that were not timed. */
  #timed(startedAt: number, inFlight: number, outcome: Outcome): void {
    const now = this.#time.now();
    const runMs = now - startedAt;
    this.#runMs += runMs * (1 + this.#untimed);
    this.#untimed = 0;
    this.#runTimes.add(runMs);
    this.#lastMoveAt = now;
    if (this.#adaptive === undefined || outcome === 'ignore') return;
    this.#adaptive.record(now, runMs, inFlight, outcome === 'failure');
    this.#limit = Math.max(1, this.#adaptive.limit);
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
    if (this.#isIdle && this.#whenIdle.length > 0) this.#tellIdle();
  }

  #overloaded(reason: keyof LimiterStats['rejected'], now: number): OverloadedError {
    this.#rejected[reason]++;
    return new OverloadedError(reason, this.#retryAfterMs(now), this.#name);
  }

  /**
   * Until a permit would be free for one who came now: all that wait ahead, as fast as work ends when all permits are in
   * use (a permit's share of the mean run time, by Little's law), and for how long nothing has moved at all.
   */
  #retryAfterMs(now: number): number {
    if (this.#movedSince) this.#lastMoveAt = now;
    this.#movedSince = false;
    const ahead = this.#waiting.size + 1;
    const wait = this.#runTimes.count === 0 ? unknownWaitMs : (ahead * this.#runTimes.meanMs) / this.#limit;
    return Math.ceil(
      Math.min(Math.max(wait + now - this.#lastMoveAt, minRetryMs), maxRetryMs) * (1 + this.#random() / 2),
    );
  }

  #tellIdle(): void {
    const told = this.#whenIdle;
    this.#whenIdle = [];
    for (const resolve of told) resolve();
  }

  async #runWith<T>(fn: (context: RunContext) => T | PromiseLike<T>, options: RunOptions): Promise<T> {
    const { signal, timeoutMs } = options;
    if (timeoutMs !== undefined) checkAtLeast('timeoutMs', timeoutMs, 0);
    signal?.throwIfAborted();
    const startedAt = this.#tryEnter(options) ?? (await this.#queue(options)).startedAt;
    if (signal === undefined && timeoutMs === undefined) return this.#runNow(fn, startedAt);
    const inFlight = this.#inFlight;
    if (signal?.aborted) {
      this.#leave(startedAt, inFlight, 'ignore');
      throw signal.reason;
    }
    return runLeavable(fn, {
      signal,
      timeoutMs: timeoutMs === undefined || timeoutMs === Number.POSITIVE_INFINITY ? undefined : timerMs(timeoutMs),
      clock: this.#clock,
      what: this.#name,
      onLeft: () => {
        this.#abandoned++;
        this.#abandonedInFlight++;
      },
      onEnded: (ending) => {
        if (ending.leftBy !== undefined) this.#abandonedInFlight--;
        this.#leave(startedAt, inFlight, this.#adaptive === undefined ? 'success' : this.#judge(ending));
      },
    });
  }

  #judge(ending: Ending): Outcome {
    if (ending.leftBy === 'abort') return 'ignore';
    if (ending.leftBy === 'timeout') return 'failure';
    try {
      return this.#classify(ending);
    } catch {
      return 'ignore';
    }
  }
}

const healthyBelow = 0.8;
const unknownWaitMs = 1_000;
const minRetryMs = 100;
const maxRetryMs = 60_000;

function checkedAdaptive(limit: AdaptiveLimit): AdaptiveLimit {
  if (typeof limit.limit !== 'number' || typeof limit.record !== 'function') {
    refuse('limit', 'an integer >= 1 or an adaptive limit', limit);
  }
  return limit;
}

function classifyByCode(ending: { value: unknown } | { error: unknown }): Outcome {
  if ('value' in ending) return 'success';
  const code = (ending.error as { code?: unknown } | null | undefined)?.code;
  return code === 'ERR_TIMEOUT' || code === 'ERR_OVERLOADED' ? 'failure' : 'ignore';
}
