import { type Clock, systemClock } from './clock.ts';
import { OverloadedError } from './errors.ts';
import { jittered } from './jitter.ts';
import { runLeavable } from './leavable-run.ts';
import { checkAtLeast, checkClock, checkFunction, checkPositive, checkSignal, checkString } from './option-checks.ts';
import { RollingCounts } from './rolling-counts.ts';
import { type RunContext, UnabortableContext } from './run-context.ts';
import { UnansweredCalls } from './unanswered-calls.ts';

export interface ClientThrottleOptions {
  /** How many calls are tried for each that the dependency accepts. From 1, default 2; smaller is stricter. */
  k?: number | undefined;
  /** Over how long calls are counted. Milliseconds, default 120,000. */
  windowMs?: number | undefined;
  /** Whether an error says that the dependency is overloaded. Default: code ERR_OVERLOADED, or `status` or `statusCode` 429 or 503. */
  isOverload?: ((error: unknown) => boolean) | undefined;
  /** Named in errors. Default `'throttle'`. */
  name?: string | undefined;
  clock?: Clock | undefined;
  /** A number from 0 to 1, for the choice of what is refused and for jitter. Default `Math.random`. */
  random?: (() => number) | undefined;
}

export interface ClientThrottleStats {
  /** Calls wanted in the window, those refused here included. */
  requests: number;
  /** Of these, what the dependency accepted. What it has not answered yet is not among them. */
  accepts: number;
  /** The share of calls that is refused now. */
  rejectionRatio: number;
  /** Calls refused here since the start. */
  rejected: number;
}

/**
 * Refuses calls here when the dependency refuses them there, so that it need not: with probability
 * max(0, (requests − k·accepts) / (requests + 1)) over the window (SRE book, ch. 21, "Handling Overload"). A call that has no answer yet is
 * a request once it has waited for a tenth of the window at least: until then many at once say nothing, after that they hang.
 */
export class ClientThrottle {
  readonly #k: number;
  readonly #isOverload: (error: unknown) => boolean;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #counts: RollingCounts;
  readonly #unanswered = new UnansweredCalls();
  #rejected = 0;

  constructor(options: ClientThrottleOptions = {}) {
    const { k = 2, windowMs = 120_000, isOverload = saysOverloaded, name = 'throttle' } = options;
    const { clock = systemClock, random = Math.random } = options;
    checkAtLeast('k', k, 1);
    checkPositive('windowMs', windowMs);
    checkFunction('isOverload', isOverload);
    checkString('name', name);
    checkClock(clock);
    checkFunction('random', random);
    this.#k = k;
    this.#isOverload = isOverload;
    this.#name = name;
    this.#clock = clock;
    this.#random = random;
    this.#counts = new RollingCounts(windowMs, clock.now());
  }

  /** Calls the dependency, or rejects with ERR_OVERLOADED, reason `shed`. An aborted call rejects at once and is not counted. */
  async run<T>(
    fn: (context: RunContext) => T | PromiseLike<T>,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    const { signal } = options;
    checkSignal(signal);
    signal?.throwIfAborted();
    this.#moveToNow();
    const refused = this.#random() < this.#rejectionRatio();
    // Counted when it is tried, not when it ends: else a dependency that hangs looks well.
    const slice = this.#counts.add(1, 0);
    if (refused) {
      this.#rejected++;
      throw new OverloadedError('shed', jittered(retryMs, this.#random), this.#name);
    }
    this.#unanswered.begun();
    if (signal !== undefined) return this.#runLeavable(fn, signal, slice);
    try {
      const value = await fn(new UnabortableContext());
      this.#answered(slice, true);
      return value;
    } catch (error) {
      this.#answered(slice, !this.#saysOverload(error));
      throw error;
    }
  }

  stats(): ClientThrottleStats {
    this.#moveToNow();
    return {
      requests: this.#counts.all,
      accepts: this.#counts.some,
      rejectionRatio: this.#rejectionRatio(),
      rejected: this.#rejected,
    };
  }

  #runLeavable<T>(fn: (context: RunContext) => T | PromiseLike<T>, signal: AbortSignal, slice: number): Promise<T> {
    return runLeavable(fn, {
      signal,
      timeoutMs: undefined,
      clock: this.#clock,
      what: this.#name,
      onLeft: () => {
        this.#moveToNow();
        this.#unanswered.ended(slice);
        this.#counts.takeBack(slice);
      },
      onEnded: (ending) => {
        if (ending.leftBy === undefined) this.#answered(slice, 'value' in ending || !this.#saysOverload(ending.error));
      },
    });
  }

  /** An error of which `isOverload` cannot tell is no sign of overload; that it threw must not take the error's place. */
  #saysOverload(error: unknown): boolean {
    try {
      return this.#isOverload(error);
    } catch {
      return false;
    }
  }

  /** The dependency has answered a call that was begun in `slice`. */
  #answered(slice: number, accepted: boolean): void {
    this.#moveToNow();
    this.#unanswered.ended(slice);
    if (accepted) this.#counts.add(0, 1);
  }

  #moveToNow(): void {
    this.#counts.moveTo(this.#clock.now());
    this.#unanswered.moveTo(this.#counts.slice);
  }

  #rejectionRatio(): number {
    const { all, some: accepts } = this.#counts;
    const requests = all - this.#unanswered.count;
    // Infinity times 0 is no number; with such a k nothing is refused.
    return Math.max(0, (requests - this.#k * accepts) / (requests + 1)) || 0;
  }
}

const retryMs = 1_000;

function saysOverloaded(error: unknown): boolean {
  const { code, status, statusCode } = (error ?? {}) as Record<string, unknown>;
  const answer = status ?? statusCode;
  return code === 'ERR_OVERLOADED' || answer === 503 || answer === 429;
}
