import { type EventLoopUtilization, type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { type Clock, systemClock } from './clock.ts';
import { EventLoopTurn } from './event-loop-turn.ts';
import { checkClock, checkFunction, checkMethods, checkOneOf, checkPositive, refuse } from './option-checks.ts';
import { timerMs } from './timer-ms.ts';
import { type Priority, priorities } from './waiting-room.ts';

export interface LoadShedderOptions {
  /**
   * How long work may be delayed by an event loop that is busy, in milliseconds: default work is shed when the mean delay over a sample
   * reaches it, and for the rest of a turn of the loop that has lasted half as long already. Default 100; `Infinity` switches it
   * off. Sensible: a quarter to half of what the callers have patience for.
   */
  eventLoopDelayMs?: number | undefined;
  /** Share of a sample in which the event loop was busy, 0 to 1, likewise. Default: off. Sensible: 0.95 to 0.99. */
  eventLoopUtilization?: number | undefined;
  /** Used share of the heap V8 may have, 0 to 1, likewise. Default: off. Sensible: 0.85 to 0.95. */
  heapRatio?: number | undefined;
  /** Memory of the whole process in bytes, likewise. Default: off. Sensible: 90 % of what the container may have. */
  rssBytes?: number | undefined;
  /** A limiter whose queue is looked at as well. Needed for `queueUtilization` and `queueWaitMs`. */
  limiter?: WatchedLimiter | undefined;
  /** Taken share of the limiter's queue, 0 to 1, likewise. Default: off. Sensible: 0.5 to 0.9. */
  queueUtilization?: number | undefined;
  /** Mean wait in the limiter's queue of what was let in during a sample, in milliseconds, likewise. Default: off. WeChat's DAGOR takes 20 (Zhou and others, SoCC 2018). */
  queueWaitMs?: number | undefined;
  /** Any other pressure, 1 where default work is to be shed: `() => pool.stats().waiting / 50`. Called once a sample. */
  pressure?: (() => number) | undefined;
  /** How often to look. Milliseconds, default 250. */
  sampleMs?: number | undefined;
  clock?: Clock | undefined;
  /** A number from 0 to 1, for the jitter of `retryAfterMs`. Default `Math.random`. */
  random?: (() => number) | undefined;
}

/** What a `ConcurrencyLimiter` has of use here. */
export interface WatchedLimiter {
  stats(): { queued: number; maxQueue: number; admitted: number; queueWaitMs: number };
}

export interface ShedVerdict {
  reason: 'shed';
  retryAfterMs: number;
}

export interface LoadShedderStats {
  /** The greatest of the measures, each as a share of its threshold, in the last sample. */
  pressure: number;
  /** What is shed now. */
  shedding: Record<Priority, boolean>;
  /** How much was shed. */
  shed: Record<Priority, number>;
}

/**
 * Says from the state of the process whether to take on work. Sheddable work goes at 0.8 of a threshold, default work at the
 * threshold, critical work at 1.5 times; each comes back at 0.8 of where it went, so that it does not flutter.
 * It looks now and then, on a timer that keeps no process alive; a check only reads the answer.
 */
export class LoadShedder implements AsyncDisposable {
  readonly #measures: readonly (() => number)[];
  readonly #sampleMs: number;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #delays: IntervalHistogram | undefined;
  readonly #turn: EventLoopTurn | undefined;
  readonly #maxTurnMs: number;
  readonly #shedding: Record<Priority, boolean> = { critical: false, default: false, sheddable: false };
  readonly #shed: Record<Priority, number> = { critical: 0, default: 0, sheddable: 0 };
  #pressure = 0;
  #lastUtilization: EventLoopUtilization | undefined;
  #timer: unknown;
  #closed = false;

  constructor(options: LoadShedderOptions = {}) {
    const { eventLoopDelayMs = 100, eventLoopUtilization, heapRatio, rssBytes, pressure, sampleMs = 250 } = options;
    const { limiter, queueUtilization, queueWaitMs, clock = systemClock, random = Math.random } = options;
    checkPositive('sampleMs', sampleMs);
    checkClock(clock);
    checkFunction('random', random);
    if (pressure !== undefined) checkFunction('pressure', pressure);
    this.#sampleMs = sampleMs;
    this.#clock = clock;
    this.#random = random;

    const measures: (() => number)[] = [];
    const watch = (option: string, threshold: number | undefined, measure: () => number): boolean => {
      if (threshold === undefined || threshold === Number.POSITIVE_INFINITY) return false;
      checkPositive(option, threshold);
      measures.push(() => measure() / threshold);
      return true;
    };
    if (watch('eventLoopDelayMs', eventLoopDelayMs, () => this.#meanDelayMs())) {
      this.#delays = monitorEventLoopDelay({ resolution: delayResolutionMs });
      this.#delays.enable();
      this.#turn = new EventLoopTurn(clock);
    }
    this.#maxTurnMs = eventLoopDelayMs / 2;
    if (watch('eventLoopUtilization', eventLoopUtilization, () => this.#utilization())) {
      if ((eventLoopUtilization as number) > 1) refuse('eventLoopUtilization', 'at most 1', eventLoopUtilization);
      this.#lastUtilization = performance.eventLoopUtilization();
    }
    if (watch('heapRatio', heapRatio, usedHeapRatio) && (heapRatio as number) > 1) {
      refuse('heapRatio', 'at most 1', heapRatio);
    }
    watch('rssBytes', rssBytes, () => process.memoryUsage.rss());
    if (limiter !== undefined) checkMethods('limiter', limiter, ['stats']);
    for (const [option, threshold] of Object.entries({ queueUtilization, queueWaitMs })) {
      if (threshold !== undefined && limiter === undefined) refuse('limiter', `given where ${option} is`, limiter);
    }
    if (limiter !== undefined) {
      if (watch('queueUtilization', queueUtilization, () => taken(limiter)) && (queueUtilization as number) > 1) {
        refuse('queueUtilization', 'at most 1', queueUtilization);
      }
      watch('queueWaitMs', queueWaitMs, meanWait(limiter));
    }
    if (pressure !== undefined) measures.push(pressure);
    this.#measures = measures;
    this.#schedule();
  }

  /** Undefined if the work may be taken on; else why not, and when to try again. */
  check(options?: { priority?: Priority | undefined }): ShedVerdict | undefined {
    const { priority = 'default' } = options ?? {};
    checkOneOf('priority', priority, priorities);
    if (!this.#shedding[priority] && !this.#isTurnLong(priority)) return undefined;
    this.#shed[priority]++;
    return { reason: 'shed', retryAfterMs: Math.ceil(retryMs * (1 + this.#random() / 2)) };
  }

  stats(): LoadShedderStats {
    return { pressure: this.#pressure, shedding: { ...this.#shedding }, shed: { ...this.#shed } };
  }

  /** Stops looking, and sheds nothing more. */
  close(): Promise<void> {
    this.#closed = true;
    this.#clock.clearTimeout(this.#timer);
    this.#delays?.disable();
    for (const priority of priorities) this.#shedding[priority] = false;
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What came in together waits for the turn before and for its own part of this one: two halves of the threshold. */
  #isTurnLong(priority: Priority): boolean {
    if (this.#turn === undefined || this.#closed) return false;
    return this.#turn.elapsedMs() >= this.#maxTurnMs * thresholds[priority];
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimeout(() => {
      if (this.#closed) return;
      this.#sample();
      if (!this.#closed) this.#schedule();
    }, timerMs(this.#sampleMs));
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }

  #sample(): void {
    let pressure = 0;
    for (const measure of this.#measures) {
      const value = read(measure);
      if (value > pressure) pressure = value;
    }
    // One of them may have closed it.
    if (this.#closed) return;
    this.#pressure = pressure;
    for (const priority of priorities) {
      const shedFrom = thresholds[priority];
      this.#shedding[priority] = pressure >= (this.#shedding[priority] ? shedFrom * backAt : shedFrom);
    }
  }

  /** Over this sample, not since the process started: hours of calm must not hide a storm. */
  #meanDelayMs(): number {
    const delays = this.#delays;
    if (delays === undefined || Number.isNaN(delays.mean)) return 0;
    const mean = delays.mean / 1e6 - delayResolutionMs;
    delays.reset();
    return Math.max(0, mean);
  }

  #utilization(): number {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#lastUtilization);
    this.#lastUtilization = now;
    return utilization;
  }
}

const thresholds: Record<Priority, number> = { critical: 1.5, default: 1, sheddable: 0.8 };
const backAt = 0.8;
const delayResolutionMs = 10;
const retryMs = 1_000;

function usedHeapRatio(): number {
  const heap = getHeapStatistics();
  return heap.used_heap_size / heap.heap_size_limit;
}

function taken(limiter: WatchedLimiter): number {
  const { queued, maxQueue } = limiter.stats();
  return maxQueue === 0 ? 0 : queued / maxQueue;
}

/** The mean wait since it was asked last; as long as it was while nobody was let in and somebody waits. */
function meanWait(limiter: WatchedLimiter): () => number {
  let before = limiter.stats();
  let meanMs = 0;
  return () => {
    const now = limiter.stats();
    const admitted = now.admitted - before.admitted;
    if (admitted > 0) meanMs = (now.queueWaitMs - before.queueWaitMs) / admitted;
    else if (now.queued === 0) meanMs = 0;
    before = now;
    return meanMs;
  };
}

/** A measure that fails tells nothing; the others still do. */
function read(measure: () => number): number {
  try {
    return measure();
  } catch {
    return 0;
  }
}
