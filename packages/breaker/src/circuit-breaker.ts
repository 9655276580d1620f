import { type CircuitBreakerOptions, checkRecovery, createProbeRule, createTripRule } from './breaker-options.ts';
import { type Classify, classifyThrown, type Outcome, type Verdict } from './classify.ts';
import { type Clock, systemClock } from './clock.ts';
import { CircuitOpenError } from './errors.ts';
import { HalfOpenProbes, type ProbeRule, type ProbeVerdict } from './half-open-probes.ts';
import { Listeners } from './listeners.ts';
import { OpenPeriod } from './open-period.ts';
import { checkMethods, checkOptionalFunction, checkOptionalString, wrongOption } from './option-checks.ts';
import { BreakerPermit, type Permit } from './permit.ts';
import { callUntilAborted, type RunContext, UnabortableContext } from './run-context.ts';
import { type BreakerSnapshot, checkSnapshot } from './snapshot.ts';
import type { TripReason, TripRule } from './trip-rule.ts';

export type BreakerState = 'closed' | 'open' | 'half-open' | 'forced-open' | 'forced-closed';

export type StateChangeReason =
  | TripReason
  | 'retry-after'
  | 'recovery-timeout'
  | 'probe-passed'
  | 'probe-failed'
  | 'forced'
  | 'reset';

export interface BreakerEvents extends Record<string, object> {
  stateChange: { from: BreakerState; to: BreakerState; reason: StateChangeReason };
  /** A call was refused. */
  rejected: { state: BreakerState; retryAfterMs: number };
  /** A call that was admitted in an earlier state ended; it was not counted. */
  late: { verdict: 'success' | 'failure' | 'ignore' };
  /** A probe did not end within its lease. */
  permitLost: { leaseMs: number };
}

export interface BreakerRunOptions {
  /** Ends the caller's wait at once with `signal.reason`; the call is then ignored. Already aborted: nothing runs. */
  signal?: AbortSignal | undefined;
  /** What the breaker's `admit` is asked with. */
  context?: unknown;
  /** Judges this call's outcome; `undefined` leaves it to the breaker's own `classify`. */
  classify?: ((outcome: Outcome) => Verdict | undefined) | undefined;
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

/** While probes are out nobody knows when the circuit closes; the probes are usually back by then. */
const PROBING_RETRY_MS = 1_000;

/**
 * Refuses calls to a dependency that fails, and probes it until it is well.
 *
 * Nothing happens on a timer: an open circuit becomes half-open when a call asks for admission. Every change of state
 * starts a new generation, and the result of a call that was admitted in an earlier one changes nothing.
 */
export class CircuitBreaker {
  readonly name: string | undefined;
  /** The classifier it was given, if any. */
  readonly classify: Classify | undefined;
  readonly #clock: Clock;
  readonly #rule: TripRule;
  readonly #probeRule: ProbeRule;
  readonly #openPeriod: OpenPeriod;
  readonly #options: CircuitBreakerOptions;
  readonly #slowMs: number;
  /** Whether calls are measured; if not, no clock is read at admission. */
  readonly #measures: boolean;
  /** Whether a closed circuit needs nothing but the outcome of a call. */
  readonly #plain: boolean;
  readonly #readsClock: boolean;
  readonly #listeners = new Listeners<BreakerEvents>();

  #state: BreakerState = 'closed';
  #generation = 0;
  #openedAt = 0;
  #lastFailure: unknown;
  #probes: HalfOpenProbes | undefined;
  #settlePermit: ((permit: BreakerPermit, verdict: Verdict, error: unknown) => void) | undefined;

  #successes = 0;
  #failures = 0;
  #ignored = 0;
  #rejected = 0;
  #late = 0;
  #permitsLost = 0;
  #transitions = 0;

  constructor(options: CircuitBreakerOptions = {}) {
    const { clock = systemClock, stackTraces = false } = options;
    checkOptionalString('name', options.name);
    checkOptionalFunction('classify', options.classify);
    checkOptionalFunction('admit', options.admit);
    checkMethods('clock', clock, ['now']);
    if (typeof stackTraces !== 'boolean') throw wrongOption('stackTraces', 'true or false', stackTraces);
    this.name = options.name;
    this.classify = options.classify;
    this.#clock = clock;
    this.#openPeriod = new OpenPeriod(checkRecovery(options));
    this.#rule = createTripRule(options);
    this.#probeRule = createProbeRule(options);
    this.#options = options;
    this.#slowMs = options.slowCall?.ms ?? Number.POSITIVE_INFINITY;
    this.#measures = options.slowCall !== undefined;
    this.#plain = !this.#measures && options.classify === undefined;
    this.#readsClock = options.slowCall !== undefined || (options.window !== undefined && 'ms' in options.window);
    if (options.initialState !== undefined) this.#restore(checkSnapshot(options.initialState));
  }

  /** Runs `fn` unless the circuit is open; then rejects with a `CircuitOpenError` (`ERR_CIRCUIT_OPEN`). */
  run<T>(fn: (context: RunContext) => PromiseLike<T> | T, options?: BreakerRunOptions): Promise<T> {
    if (options === undefined && this.#state === 'closed' && this.#plain) return this.#runPlain(fn);
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    let permit: BreakerPermit | undefined | null;
    try {
      permit = this.#state === 'closed' ? undefined : this.#admit(options?.context);
    } catch (error) {
      return Promise.reject(error);
    }
    return permit === null ? Promise.reject(this.#refusal()) : this.#runUnder(fn, options, permit);
  }

  // What most calls are: nothing to ask for, nothing to measure. An async function keeps all its variables for as long as
  // it waits, so this one has few.
  async #runPlain<T>(fn: (context: RunContext) => PromiseLike<T> | T): Promise<T> {
    const generation = this.#generation;
    let value: T;
    try {
      value = await fn(new UnabortableContext());
    } catch (error) {
      this.#record(generation, 0, classifyThrown({ error }), error);
      throw error;
    }
    this.#record(generation, 0, 'success', undefined);
    return value;
  }

  async #runUnder<T>(
    fn: (context: RunContext) => PromiseLike<T> | T,
    options: BreakerRunOptions | undefined,
    permit: BreakerPermit | undefined,
  ): Promise<T> {
    const signal = options?.signal;
    const generation = this.#generation;
    const startedAt = this.#measures ? this.#clock.now() : 0;
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
    const run = (call: () => PromiseLike<T> | T) => this.run(call, options);
    return function (this: This, ...args: Args) {
      return run(() => fn.apply(this, args));
    };
  }

  /** A permit for one call now, or `undefined`; report how the call went through it, or release it. */
  tryAcquire(options?: { context?: unknown }): Permit | undefined {
    const permit = this.#state === 'closed' ? undefined : this.#admit(options?.context);
    if (permit === null) {
      this.#countRejection();
      return undefined;
    }
    return permit ?? this.#newPermit(Number.POSITIVE_INFINITY);
  }

  /** An open circuit whose time is up is half-open, though it takes a call to probe it. */
  get state(): BreakerState {
    return this.#state === 'open' && this.#clock.now() >= this.#openPeriod.until ? 'half-open' : this.#state;
  }

  /** Milliseconds until a call may be admitted: 0 when now, `Infinity` while forced open. */
  get retryAfterMs(): number {
    if (this.#state === 'open') return Math.max(0, this.#openPeriod.until - this.#clock.now());
    if (this.#state === 'forced-open') return Number.POSITIVE_INFINITY;
    if (this.#probes === undefined || this.#probes.free > 0) return 0;
    return Math.max(0, Math.min(PROBING_RETRY_MS, this.#probes.firstLeaseUntil - this.#clock.now()));
  }

  /** Refuses every call until `forceClosed` or `reset`. */
  forceOpen(): void {
    this.#force('forced-open');
  }

  /** Admits every call, whatever comes of it, until `forceOpen` or `reset`. */
  forceClosed(): void {
    this.#force('forced-closed');
  }

  /** Closes the circuit and forgets what it has seen; counters stay. */
  reset(): void {
    this.#openPeriod.openings = 0;
    this.#lastFailure = undefined;
    this.#enter('closed', 'reset');
  }

  /** Calls `fn` at each `event`; returns the function that stops it. What a listener throws is dropped. */
  on<E extends 'stateChange' | 'rejected' | 'late' | 'permitLost'>(
    event: E,
    fn: (event: BreakerEvents[E]) => void,
  ): () => void {
    return this.#listeners.add(event, fn);
  }

  stats(): BreakerStats {
    const state = this.state;
    return {
      state,
      successes: this.#successes,
      failures: this.#failures,
      ignored: this.#ignored,
      rejected: this.#rejected,
      late: this.#late,
      permitsLost: this.#permitsLost,
      transitions: this.#transitions,
      ...(state === 'closed' || state === 'forced-closed' ? {} : { openedAt: this.#openedAt }),
      retryAfterMs: this.retryAfterMs,
    };
  }

  /** What `initialState` takes: an open circuit stays open in another process for the time that remains. */
  toJSON(): BreakerSnapshot {
    const tripped = this.#state === 'open' || this.#state === 'half-open';
    return {
      version: 1,
      state: this.#state === 'half-open' ? 'open' : this.#state,
      openUntil: tripped ? Math.round(this.#wallNow() + Math.max(0, this.#openPeriod.until - this.#clock.now())) : 0,
      openings: this.#openPeriod.openings,
    };
  }

  // A permit, `undefined` where none is needed, or `null` for a refusal.
  #admit(context: unknown): BreakerPermit | undefined | null {
    if (this.#state === 'forced-closed') return undefined;
    if (this.#state === 'forced-open') return null;
    const now = this.#clock.now();
    if (this.#state === 'open' && now < this.#openPeriod.until) return null;
    if (this.#options.admit?.(context) === false) return null;
    if (this.#state === 'open') this.#enter('half-open', 'recovery-timeout');
    // `admit` or a listener may have changed the state meanwhile.
    const probes = this.#probes;
    if (probes === undefined) return this.#state === 'closed' ? undefined : this.#admit(context);
    if (probes.free === 0) this.#takeBackExpired(probes, now);
    if (probes !== this.#probes) return this.#admit(context);
    if (probes.free === 0) return null;
    const permit = this.#newPermit(now + this.#openPeriod.leaseMs);
    probes.send(permit);
    return permit;
  }

  #newPermit(leaseUntil: number): BreakerPermit {
    this.#settlePermit ??= (permit, verdict, error) => this.#settleProbe(permit, verdict, error);
    const startedAt = this.#measures ? this.#clock.now() : 0;
    return new BreakerPermit(this.#generation, startedAt, leaseUntil, this.#settlePermit);
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
      if (!aborted) verdict = options?.classify?.(outcome) ?? (this.classify ?? classifyThrown)(outcome);
    } finally {
      const error = 'error' in outcome ? outcome.error : undefined;
      if (permit === undefined) this.#record(generation, startedAt, verdict, error);
      else permit.settle(verdict, error);
    }
  }

  #settleProbe(permit: BreakerPermit, verdict: Verdict, error: unknown): void {
    const probing = permit.leaseUntil !== Number.POSITIVE_INFINITY && permit.generation === this.#generation;
    if (probing && this.#probes !== undefined) this.#takeBackExpired(this.#probes, this.#clock.now());
    if (permit.lost) {
      this.#dropLate(verdict);
      return;
    }
    this.#probes?.takeBack(permit);
    this.#record(permit.generation, permit.startedAt, verdict, error);
  }

  #record(generation: number, startedAt: number, verdict: Verdict, error: unknown): void {
    if (generation !== this.#generation) {
      this.#dropLate(verdict);
      return;
    }
    if (verdict === 'ignore') {
      this.#ignored += 1;
      return;
    }
    const failed = verdict !== 'success';
    if (failed) {
      this.#failures += 1;
      this.#lastFailure = error;
    } else {
      this.#successes += 1;
    }
    if (this.#state === 'forced-closed') return;
    const now = this.#readsClock ? this.#clock.now() : 0;
    const slow = now - startedAt >= this.#slowMs;
    if (typeof verdict === 'object' && verdict.retryAfterMs !== undefined && verdict.retryAfterMs > 0) {
      this.#open('retry-after', verdict.retryAfterMs);
    } else if (this.#probes === undefined) {
      const reason = this.#rule.record(failed, slow, now);
      if (reason !== undefined) this.#open(reason);
    } else {
      this.#judge(this.#probes.record(failed, slow));
    }
  }

  #judge(verdict: ProbeVerdict): void {
    if (verdict === 'failed') this.#open('probe-failed');
    if (verdict === 'passed') {
      this.#openPeriod.openings = 0;
      this.#lastFailure = undefined;
      this.#enter('closed', 'probe-passed');
    }
  }

  #dropLate(verdict: Verdict): void {
    this.#late += 1;
    if (this.#listeners.has('late')) {
      this.#listeners.emit('late', { verdict: typeof verdict === 'object' ? 'failure' : verdict });
    }
  }

  #open(reason: StateChangeReason, askedMs?: number): void {
    this.#openPeriod.start(this.#clock.now(), askedMs);
    this.#openedAt = this.#wallNow();
    this.#enter('open', reason);
  }

  #force(state: 'forced-open' | 'forced-closed'): void {
    if (this.#state === state) return;
    this.#openedAt = this.#wallNow();
    this.#enter(state, 'forced');
  }

  #enter(to: BreakerState, reason: StateChangeReason): void {
    const from = this.#state;
    this.#state = to;
    this.#generation += 1;
    this.#probes = to === 'half-open' ? new HalfOpenProbes(this.#probeRule) : undefined;
    this.#rule.clear();
    if (from === to) return;
    this.#transitions += 1;
    if (this.#listeners.has('stateChange')) this.#listeners.emit('stateChange', { from, to, reason });
  }

  #takeBackExpired(probes: HalfOpenProbes, now: number): void {
    const lost = probes.takeBackExpired(now);
    this.#permitsLost += lost;
    for (let i = 0; i < lost; i += 1) this.#listeners.emit('permitLost', { leaseMs: this.#openPeriod.leaseMs });
  }

  #countRejection(): void {
    this.#rejected += 1;
    if (!this.#listeners.has('rejected')) return;
    this.#listeners.emit('rejected', { state: this.state, retryAfterMs: this.retryAfterMs });
  }

  #refusal(): CircuitOpenError {
    this.#countRejection();
    const retryAfterMs = this.retryAfterMs;
    return CircuitOpenError.create({
      dependency: this.name,
      retryAfterMs: Number.isFinite(retryAfterMs) ? retryAfterMs : undefined,
      cause: this.#lastFailure,
      stackTrace: this.#options.stackTraces,
    });
  }

  #restore(snapshot: BreakerSnapshot): void {
    this.#state = snapshot.state;
    this.#openPeriod.openings = snapshot.openings;
    if (snapshot.state === 'closed' || snapshot.state === 'forced-closed') return;
    this.#openedAt = this.#wallNow();
    if (snapshot.state === 'open') this.#openPeriod.resume(this.#clock.now(), snapshot.openUntil - this.#openedAt);
  }

  #wallNow(): number {
    return this.#clock.wallNow?.() ?? Date.now();
  }
}
