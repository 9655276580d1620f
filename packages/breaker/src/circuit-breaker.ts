import type { BreakerEvents, BreakerState } from './breaker-events.ts';
import { type CircuitBreakerOptions, checkBreakerOptions } from './breaker-options.ts';
import { Circuit } from './circuit.ts';
import { type Classify, judge, type Outcome, type Verdict } from './classify.ts';
import { systemClock } from './clock.ts';
import { CircuitOpenError } from './errors.ts';
import { checkFunction, wrongOption } from './option-checks.ts';
import type { BreakerPermit, Permit } from './permit.ts';
import { callUntilAborted, type RunContext, rejectSoon, UnabortableContext } from './run-context.ts';
import type { BreakerSnapshot } from './snapshot.ts';

export interface BreakerRunOptions {
  /** Ends the caller's wait at once with `signal.reason`; the call is then ignored. Already aborted: nothing runs. */
  signal?: AbortSignal | undefined;
  /** What the breaker's `admit` is asked with. */
  context?: unknown;
  /** Judges this call's outcome; `undefined` leaves it to the breaker's own `classify`. */
  classify?: Classify | undefined;
}

export interface BreakerStats {
  state: BreakerState;
  successes: number;
  failures: number;
  ignored: number;
  rejected: number;
  late: number;
  permitsLost: number;
  transitions: number;
  /** Since when the circuit is open. Milliseconds since 1970; absent when it is not. */
  openedAt?: number;
  retryAfterMs: number;
}

const EVENTS: readonly (keyof BreakerEvents)[] = ['stateChange', 'rejected', 'late', 'permitLost'];

/** What is done with the outcomes of all plain calls that one generation of the circuit admits. */
interface Settlers {
  generation: number;
  succeed: <T>(value: T) => T;
  fail: (error: unknown) => never;
}

/** Refuses calls to a dependency that fails, and probes it until it is well. */
export class CircuitBreaker {
  readonly name: string | undefined;
  /** The classifier it was given, if any. */
  readonly classify: Classify | undefined;
  readonly #circuit: Circuit;
  readonly #stackTraces: boolean;
  #settlers: Settlers | undefined;
  #rejected = 0;

  constructor(options: CircuitBreakerOptions = {}) {
    checkBreakerOptions(options);
    const { clock = systemClock, stackTraces = false } = options;
    this.name = options.name;
    this.classify = options.classify;
    this.#stackTraces = stackTraces;
    this.#circuit = new Circuit(options, clock);
  }

  /** Runs `fn` unless the circuit is open; then rejects with a `CircuitOpenError` (`ERR_CIRCUIT_OPEN`). */
  run<T>(fn: (context: RunContext) => PromiseLike<T> | T, options?: BreakerRunOptions): Promise<T> {
    const circuit = this.#circuit;
    // Otherwise the dependency would be blamed for it.
    if (typeof fn !== 'function') return rejectSoon(wrongOption('fn', 'a function', fn));
    if (options === undefined && circuit.state === 'closed' && !circuit.measures) return this.#runPlain(fn);
    const signal = options?.signal;
    if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
      return rejectSoon(wrongOption('signal', 'an AbortSignal', signal));
    }
    const classify: unknown = options?.classify;
    if (classify !== undefined && typeof classify !== 'function') {
      return rejectSoon(wrongOption('classify', 'a function', classify));
    }
    if (signal?.aborted) return rejectSoon(signal.reason);
    let permit: BreakerPermit | undefined | null;
    try {
      permit = circuit.admit(options?.context);
    } catch (error) {
      return rejectSoon(error);
    }
    return permit === null ? rejectSoon(this.#refusal()) : this.#runUnder(fn, options, permit);
  }

  // What most calls are: nothing to ask for, nothing to measure. It allocates the context and one promise.
  #runPlain<T>(fn: (context: RunContext) => PromiseLike<T> | T): Promise<T> {
    const { generation } = this.#circuit;
    if (this.#settlers?.generation !== generation) this.#settlers = this.#newSettlers(generation);
    const { succeed, fail } = this.#settlers;
    let returned: PromiseLike<T> | T;
    try {
      returned = fn(new UnabortableContext());
    } catch (error) {
      return Promise.reject(error).then(succeed<T>, fail);
    }
    return Promise.resolve(returned).then(succeed<T>, fail);
  }

  async #runUnder<T>(
    fn: (context: RunContext) => PromiseLike<T> | T,
    options: BreakerRunOptions | undefined,
    permit: BreakerPermit | undefined,
  ): Promise<T> {
    const signal = options?.signal;
    const generation = this.#circuit.generation;
    const startedAt = permit === undefined ? this.#circuit.startTime() : 0;
    let value: T;
    try {
      value = await (signal === undefined ? fn(new UnabortableContext()) : callUntilAborted(fn, signal));
    } catch (error) {
      this.#conclude(permit, generation, startedAt, signal?.aborted === true, { error }, options);
      throw error;
    }
    this.#conclude(permit, generation, startedAt, false, { value }, options);
    return value;
  }

  /** `fn` under this breaker: the same arguments, result and errors, and `ERR_CIRCUIT_OPEN`. */
  wrap<This, Args extends unknown[], T>(
    fn: (this: This, ...args: Args) => PromiseLike<T> | T,
    options?: BreakerRunOptions,
  ): (this: This, ...args: Args) => Promise<T> {
    checkFunction('fn', fn);
    const run = (call: () => PromiseLike<T> | T) => this.run(call, options);
    return function (this: This, ...args: Args) {
      return run(() => fn.apply(this, args));
    };
  }

  /** A permit for one call now, or `undefined`; report how the call went through it, or release it. */
  tryAcquire(options?: { context?: unknown }): Permit | undefined {
    const permit = this.#circuit.admit(options?.context);
    if (permit !== null) return permit ?? this.#circuit.newPermit();
    this.#countRejection(this.#circuit.refusedForMs);
    return undefined;
  }

  /** An open circuit whose time is up is half-open, though it takes a call to probe it. */
  get state(): BreakerState {
    return this.#circuit.seenState;
  }

  /** Milliseconds until a call may be admitted: 0 when now, `Infinity` while forced open. */
  get retryAfterMs(): number {
    return this.#circuit.retryAfterMs;
  }

  /** Refuses every call until `forceClosed` or `reset`. */
  forceOpen(): void {
    this.#circuit.force('forced-open');
  }

  /** Admits every call, whatever comes of it, until `forceOpen` or `reset`. */
  forceClosed(): void {
    this.#circuit.force('forced-closed');
  }

  /** Closes the circuit, in all processes that share it, and forgets what it has seen; counters stay. */
  reset(): void {
    this.#circuit.reset();
  }

  /** Calls `fn` at each `event`; returns the function that stops it. What a listener throws is dropped. */
  on<E extends 'stateChange' | 'rejected' | 'late' | 'permitLost'>(
    event: E,
    fn: (event: BreakerEvents[E]) => void,
  ): () => void {
    if (!EVENTS.includes(event)) throw wrongOption('event', `one of '${EVENTS.join("', '")}'`, event);
    checkFunction('listener', fn);
    return this.#circuit.listeners.add(event, fn);
  }

  stats(): BreakerStats {
    const { successes, failures, ignored, late, permitsLost, transitions, openedAt, retryAfterMs } = this.#circuit;
    const state = this.state;
    return {
      state,
      successes,
      failures,
      ignored,
      rejected: this.#rejected,
      late,
      permitsLost,
      transitions,
      ...(state === 'closed' || state === 'forced-closed' ? {} : { openedAt }),
      retryAfterMs,
    };
  }

  /** What `initialState` takes: an open circuit stays open in another process for the time that remains. */
  toJSON(): BreakerSnapshot {
    return this.#circuit.toJSON();
  }

  #newSettlers(generation: number): Settlers {
    return {
      generation,
      succeed: (value) => {
        if (this.classify === undefined) this.#circuit.record(generation, 0, 'success', undefined);
        else this.#conclude(undefined, generation, 0, false, { value }, undefined);
        return value;
      },
      fail: (error) => {
        this.#conclude(undefined, generation, 0, false, { error }, undefined);
        throw error;
      },
    };
  }

  #conclude(
    permit: BreakerPermit | undefined,
    generation: number,
    startedAt: number,
    aborted: boolean,
    outcome: Outcome,
    options: BreakerRunOptions | undefined,
  ): void {
    let verdict: Verdict = 'ignore';
    try {
      if (!aborted) verdict = judge(outcome, options?.classify, this.classify);
    } finally {
      const error = 'error' in outcome ? outcome.error : undefined;
      if (permit === undefined) this.#circuit.record(generation, startedAt, verdict, error);
      else permit.settle(verdict, error);
    }
  }

  #countRejection(retryAfterMs: number): void {
    this.#rejected += 1;
    const { listeners } = this.#circuit;
    if (listeners.has('rejected')) listeners.emit('rejected', { state: this.state, retryAfterMs });
  }

  #refusal(): CircuitOpenError {
    const retryAfterMs = this.#circuit.refusedForMs;
    this.#countRejection(retryAfterMs);
    return CircuitOpenError.create({
      dependency: this.name,
      retryAfterMs: retryAfterMs === Number.POSITIVE_INFINITY ? undefined : retryAfterMs,
      cause: this.#circuit.lastFailure,
      stackTrace: this.#stackTraces,
    });
  }
}
