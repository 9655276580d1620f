import type { Clock } from './clock.ts';
import type { RejectReason } from './errors.ts';
import type { AcquireOptions } from './limiter-options.ts';
import type { RunContext } from './run-context.ts';
import type { RunTimes } from './run-times.ts';
import { timerMs } from './timer-ms.ts';
import { Waiter } from './waiter.ts';
import { WaitingRoom } from './waiting-room.ts';
import { whenAborted } from './when-aborted.ts';

export interface LimiterQueueOptions {
  maxQueue: number;
  queueTimeoutMs: number;
  order: 'fifo' | 'lifo' | 'adaptive';
  clock: Clock;
  /** How long work takes: what cannot end before its deadline does not begin. */
  runTimes: RunTimes;
  /** How much may be in flight now. */
  limit: () => number;
  /** The error for one who is refused; called once for each. */
  refusal: (reason: Exclude<RejectReason, 'rate_limited'>, now: number) => Error;
}

/** Those who wait for a permit, and all that can end a wait: its turn, an abort, a deadline, a time-out, another who is more important. */
export class LimiterQueue {
  readonly #options: LimiterQueueOptions;
  readonly #room = new WaitingRoom();
  readonly #newestFirst: (oldest: Waiter) => boolean;
  /** Fires when the one who has waited longest has waited too long. One for all: everyone may wait equally long. */
  #timer: unknown;
  #now = 0;
  #nonEmptySince = 0;
  /** In the adaptive order, while one is taken out: the newest of the caller whose turn comes last. */
  #last: Waiter | undefined;

  constructor(options: LimiterQueueOptions) {
    this.#options = options;
    const { order } = options;
    this.#newestFirst = order === 'adaptive' ? (oldest) => this.#adapt(oldest) : () => order === 'lifo';
  }

  get size(): number {
    return this.#room.size;
  }

  /** Whether most places are free. */
  get hasRoom(): boolean {
    return this.#room.size < healthyBelow * this.#options.maxQueue;
  }

  /** Waits for a permit. `work` is kept for whoever is told of the grant. */
  enter(options: AcquireOptions | undefined, now: number, work?: (context: RunContext) => unknown): Promise<Waiter> {
    const { signal, priority, key, deadlineMs } = options ?? noOptions;
    if (deadlineMs !== undefined && deadlineMs <= this.#options.runTimes.typicalMs)
      return this.#refuse('deadline', now);
    const room = this.#room;
    // One makes place, not two: where more wait than can end in time that frees a place of a full room as well.
    if (deadlineMs !== undefined && room.size >= this.#canEndWithin(deadlineMs)) {
      const victim = room.makePlaceByAge(priority, key);
      if (victim === undefined) return this.#refuse('shed', now);
      this.#turnAway(victim, 'shed', now);
    } else if (room.size >= this.#options.maxQueue) {
      const victim = room.makePlaceFor(priority, key);
      if (victim === undefined) return this.#refuse('queue_full', now);
      this.#turnAway(victim, 'shed', now);
    }
    if (room.size === 0) this.#nonEmptySince = now;
    const granted = new Promise<Waiter>(capture);
    const deadlineAt = deadlineMs === undefined ? undefined : now + deadlineMs;
    const waiter = new Waiter(resolveCaptured, rejectCaptured, now, deadlineAt, work);
    forgetCaptured();
    room.enter(waiter, priority, key);
    if (this.#timer === undefined) this.#armTimer(now);
    if (signal !== undefined) this.#leaveOnAbort(waiter, signal);
    if (deadlineMs !== undefined && deadlineMs !== Number.POSITIVE_INFINITY) this.#leaveAtDeadline(waiter, deadlineMs);
    return granted;
  }

  /** Takes out the next one that can still end in time, and refuses those on the way that cannot. */
  next(now: number): Waiter | undefined {
    this.#now = now;
    for (;;) {
      const waiter = this.#room.next(this.#newestFirst);
      const last = this.#last;
      this.#last = undefined;
      if (waiter === undefined) return undefined;
      this.#afterLeaving(waiter);
      if (waiter.deadlineAt === undefined || waiter.deadlineAt - now >= this.#neededBy(waiter, last)) return waiter;
      waiter.refuse(this.#options.refusal('deadline', now));
    }
  }

  refuseAll(reason: 'draining'): void {
    const now = this.#options.clock.now();
    for (let waiter = this.#room.next(never); waiter !== undefined; waiter = this.#room.next(never)) {
      this.#turnAway(waiter, reason, now);
    }
  }

  #adapt(oldest: Waiter): boolean {
    // Before the turn passes on.
    this.#last = oldest.lane?.level.last;
    return this.#isOverloaded(oldest);
  }

  /**
   * Where there is a deadline: more have waited than can end in time, or the oldest may not any more if it is begun now, so
   * that all those behind it come to that point as well. Where there is none: the queue has not been empty for long, and its oldest have most likely given
   * up; but now and then one of them is served, since callers that wait for their answer before they ask again would else
   * leave some of them waiting for ever.
   */
  #isOverloaded(oldest: Waiter): boolean {
    if (oldest.deadlineAt !== undefined) {
      return oldest.lane?.level.overflowing === true || oldest.deadlineAt - this.#now < this.#options.runTimes.longMs;
    }
    if (!this.#isStanding) return false;
    const { lane } = oldest;
    return lane !== undefined && ++lane.grantsWhileStanding % oldestEvery !== 0;
  }

  /**
   * How much time one whose turn it is must have left. Callers take turns in the order in which they came, so that under overload, where each
   * has one call, the oldest of all would be begun when half of them are too late already. It makes way where the last has more time, unless that one
   * is more patient as such.
   */
  #neededBy(waiter: Waiter, last: Waiter | undefined): number {
    const { typicalMs, longMs } = this.#options.runTimes;
    const { deadlineAt = Number.NaN, arrivedAt } = waiter;
    const lastLeftMs = (last?.deadlineAt ?? Number.NaN) - this.#now;
    if (!this.#isStanding || last === waiter || !(lastLeftMs <= deadlineAt - arrivedAt)) return typicalMs;
    return Math.max(typicalMs, Math.min(longMs, lastLeftMs * asFresh));
  }

  get #isStanding(): boolean {
    return this.#now - this.#nonEmptySince > standingAfterMs;
  }

  /**
   * How many of those who wait could end in so long. With more than that the oldest would be refused at their deadlines, when
   * their callers hang up: told at once they still hear of it, however busy the machine is.
   */
  #canEndWithin(deadlineMs: number): number {
    const { order, runTimes, limit } = this.#options;
    if (order !== 'adaptive' || runTimes.typicalMs === 0) return Number.POSITIVE_INFINITY;
    return Math.ceil((limit() * deadlineMs) / runTimes.typicalMs);
  }

  #leaveOnAbort(waiter: Waiter, signal: AbortSignal): void {
    const onAbort = (): void => {
      if (this.#room.leave(waiter)) {
        this.#afterLeaving(waiter);
        waiter.refuse(signal.reason);
      }
    };
    waiter.detach = whenAborted(signal, onAbort);
  }

  #leaveAtDeadline(waiter: Waiter, deadlineMs: number): void {
    const { clock, runTimes } = this.#options;
    const timer = clock.setTimeout(
      () => this.#turnAway(waiter, 'deadline', clock.now()),
      timerMs(deadlineMs - runTimes.typicalMs),
    );
    const { detach } = waiter;
    waiter.detach = () => {
      clock.clearTimeout(timer);
      detach?.();
    };
  }

  /** Refuses one who waits, or has just been taken out. */
  #turnAway(waiter: Waiter, reason: Exclude<RejectReason, 'rate_limited'>, now: number): void {
    this.#room.leave(waiter);
    this.#afterLeaving(waiter);
    waiter.refuse(this.#options.refusal(reason, now));
  }

  #refuse(reason: Exclude<RejectReason, 'rate_limited'>, now: number): Promise<never> {
    return Promise.reject(this.#options.refusal(reason, now));
  }

  #afterLeaving(waiter: Waiter): void {
    waiter.detach?.();
    if (this.#room.size === 0 && this.#timer !== undefined) {
      this.#options.clock.clearTimeout(this.#timer);
      this.#timer = undefined;
    }
  }

  #armTimer(now: number): void {
    const { queueTimeoutMs, clock } = this.#options;
    if (queueTimeoutMs === Number.POSITIVE_INFINITY) return;
    const oldest = this.#room.oldest();
    if (oldest === undefined) return;
    this.#timer = clock.setTimeout(() => this.#onTimer(), timerMs(oldest.arrivedAt + queueTimeoutMs - now));
  }

  #onTimer(): void {
    this.#timer = undefined;
    const { queueTimeoutMs, clock } = this.#options;
    const now = clock.now();
    const tooLong = this.#room.arrived((arrivedAt) => now - arrivedAt >= queueTimeoutMs);
    for (const waiter of tooLong) this.#turnAway(waiter, 'queue_timeout', now);
    this.#armTimer(now);
  }
}

const healthyBelow = 0.8;
const noOptions: AcquireOptions = {};
const nobody = (): void => {};
const never = (): boolean => false;
/** As long as in "Fail at Scale": a queue that has not been empty for so long is not a burst but overload. */
const standingAfterMs = 100;
/** Of the time that the last has left; what is a little older is as good. */
const asFresh = 0.9;
/** Of so many grants to a caller from a queue that stands, one goes to its oldest; of so many to all it would always be the same callers whose turn that is. */
const oldestEvery = 8;

// One function for all promises, since a closure for each costs more than the rest of the wait.
let resolveCaptured: (granted: Waiter) => void;
let rejectCaptured: (error: unknown) => void;
function capture(resolve: (granted: Waiter) => void, reject: (error: unknown) => void): void {
  resolveCaptured = resolve;
  rejectCaptured = reject;
}

/** They would keep the last one who waited, with its work and all that this holds. */
function forgetCaptured(): void {
  resolveCaptured = nobody;
  rejectCaptured = nobody;
}
