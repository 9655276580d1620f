import type { BreakerEvents, BreakerState, StateChangeReason } from './breaker-events.ts';
import {
  type CircuitBreakerOptions,
  callsOf,
  checkRecovery,
  createProbeRule,
  createTripRule,
} from './breaker-options.ts';
import type { Verdict } from './classify.ts';
import type { Clock } from './clock.ts';
import { HalfOpenProbes, type ProbeRule, type ProbeVerdict } from './half-open-probes.ts';
import { Listeners } from './listeners.ts';
import { OpenPeriod } from './open-period.ts';
import { BreakerPermit } from './permit.ts';
import type { SharedCircuit, SharedMember } from './shared-state.ts';
import { type BreakerSnapshot, checkSnapshot } from './snapshot.ts';
import type { TripRule } from './trip-rule.ts';

/** While probes are out nobody knows when the circuit closes; the probes are usually back by then. */
const PROBING_RETRY_MS = 1_000;

/**
 * The state machine: which calls are admitted, and what their outcomes come to.
 *
 * Nothing happens on a timer: an open circuit becomes half-open when a call asks for admission. Every change of state
 * starts a new generation, and the outcome of a call that was admitted in an earlier one changes nothing.
 */
export class Circuit {
  readonly name: string | undefined;
  state: BreakerState = 'closed';
  generation = 0;
  lastFailure: unknown;
  /** Since when it is not closed. Milliseconds since 1970. */
  openedAt = 0;
  readonly listeners: Listeners<BreakerEvents> = new Listeners();
  /** Whether it matters how long calls take. */
  readonly measures: boolean;

  successes = 0;
  failures = 0;
  ignored = 0;
  late = 0;
  permitsLost = 0;
  transitions = 0;

  readonly #clock: Clock;
  readonly #rule: TripRule;
  readonly #probeRule: ProbeRule;
  readonly #openPeriod: OpenPeriod;
  readonly #admit: CircuitBreakerOptions['admit'];
  readonly #slowMs: number;
  readonly #readsClock: boolean;
  readonly #shared: SharedCircuit | undefined;
  #probes: HalfOpenProbes | undefined;

  constructor(options: CircuitBreakerOptions, clock: Clock) {
    this.name = options.name;
    this.#clock = clock;
    this.#openPeriod = new OpenPeriod(checkRecovery(options));
    this.#rule = createTripRule(options);
    this.#probeRule = createProbeRule(options);
    this.#admit = options.admit;
    this.#slowMs = options.slowCall?.ms ?? Number.POSITIVE_INFINITY;
    this.measures = options.slowCall !== undefined;
    this.#readsClock = this.measures || (options.window !== undefined && callsOf(options.window) === undefined);
    if (options.initialState !== undefined) this.#restore(checkSnapshot(options.initialState));
    this.#shared = options.shared?.join(this.#member());
  }

  /** An open circuit whose time is up is half-open, though it takes a call to probe it. */
  get seenState(): BreakerState {
    return this.state === 'open' && this.openForMs(this.#clock.now()) === 0 ? 'half-open' : this.state;
  }

  /** Milliseconds until a call may be admitted: 0 when now, `Infinity` while forced open. */
  get retryAfterMs(): number {
    if (this.state === 'open') return this.openForMs(this.#clock.now());
    if (this.state === 'forced-open') return Number.POSITIVE_INFINITY;
    if (this.#probes === undefined || this.#probes.free > 0) return 0;
    return Math.max(0, Math.min(PROBING_RETRY_MS, this.#probes.firstLeaseUntil - this.#clock.now()));
  }

  /** What a call that was just refused is told: never 0, since that would have it come back at once, to be refused again. */
  get refusedForMs(): number {
    return this.retryAfterMs || PROBING_RETRY_MS;
  }

  openForMs(now: number): number {
    return Math.max(0, this.#openPeriod.until - now);
  }

  /** A permit, `undefined` where none is needed, or `null` for a refusal. */
  admit(context: unknown): BreakerPermit | undefined | null {
    if (this.state === 'closed' || this.state === 'forced-closed') return undefined;
    if (this.state === 'forced-open') return null;
    const now = this.#clock.now();
    if (this.state === 'open' && now < this.#openPeriod.until) return null;
    const { generation } = this;
    if (this.#admit !== undefined && !this.#admit(context)) return null;
    if (this.#probes?.free === 0) this.#takeBackExpired(this.#probes, now);
    // `admit` or a listener may have changed the state.
    if (generation !== this.generation) return this.admit(context);
    if (this.#probes?.free === 0 || this.#shared?.mayProbe(this.#openPeriod.leaseMs) === false) return null;
    if (this.state === 'open') this.#enter('half-open', 'recovery-timeout');
    // A listener may have changed the state again, or taken the probe.
    return this.#probes === undefined || this.#probes.free === 0 ? this.admit(context) : this.#send(this.#probes, now);
  }

  /** A permit for a call that needs none, so that its outcome can be reported. */
  newPermit(): BreakerPermit {
    return new BreakerPermit(this.generation, this.startTime(), Number.POSITIVE_INFINITY, this);
  }

  /** When a call begins; 0, and no clock read, where nobody measures calls. */
  startTime(): number {
    return this.measures ? this.#clock.now() : 0;
  }

  settle(permit: BreakerPermit, verdict: Verdict, error: unknown): void {
    const probing = permit.leaseUntil !== Number.POSITIVE_INFINITY && permit.generation === this.generation;
    if (probing && this.#probes !== undefined) this.#takeBackExpired(this.#probes, this.#clock.now());
    if (permit.lost) {
      this.#dropLate(verdict);
      return;
    }
    this.#probes?.takeBack(permit);
    this.record(permit.generation, permit.startedAt, verdict, error);
  }

  record(generation: number, startedAt: number, verdict: Verdict, error: unknown): void {
    if (generation !== this.generation) {
      this.#dropLate(verdict);
      return;
    }
    if (verdict === 'ignore') {
      this.ignored += 1;
      return;
    }
    const failed = verdict !== 'success';
    if (failed) {
      this.failures += 1;
      this.lastFailure = error;
    } else {
      this.successes += 1;
    }
    if (this.state === 'forced-closed') return;
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

  force(state: 'forced-open' | 'forced-closed'): void {
    if (this.state === state) return;
    this.openedAt = this.wallNow();
    this.#enter(state, 'forced');
  }

  reset(): void {
    this.#close('reset');
    this.#shared?.reset();
  }

  toJSON(): BreakerSnapshot {
    const tripped = this.state === 'open' || this.state === 'half-open';
    return {
      version: 1,
      state: this.state === 'half-open' ? 'open' : this.state,
      openUntil: tripped ? Math.round(this.wallNow() + this.openForMs(this.#clock.now())) : 0,
      openings: this.#openPeriod.openings,
    };
  }

  wallNow(): number {
    return this.#clock.wallNow?.() ?? Date.now();
  }

  #send(probes: HalfOpenProbes, now: number): BreakerPermit {
    const { leaseMs } = this.#openPeriod;
    const permit = new BreakerPermit(this.generation, this.startTime(), now + leaseMs, this);
    probes.send(permit);
    this.#shared?.probing(leaseMs);
    return permit;
  }

  #judge(verdict: ProbeVerdict): void {
    if (verdict === 'failed') this.#open('probe-failed');
    if (verdict === 'passed') {
      this.#close('probe-passed');
      this.#shared?.closed();
    }
  }

  #dropLate(verdict: Verdict): void {
    this.late += 1;
    if (this.listeners.has('late')) {
      this.listeners.emit('late', { verdict: typeof verdict === 'object' ? 'failure' : verdict });
    }
  }

  #open(reason: StateChangeReason, askedMs?: number): void {
    this.#openPeriod.start(this.#clock.now(), askedMs);
    this.openedAt = this.wallNow();
    this.#enter('open', reason);
    this.#shared?.opened();
  }

  #close(reason: StateChangeReason): void {
    this.#openPeriod.openings = 0;
    this.lastFailure = undefined;
    this.#enter('closed', reason);
  }

  #enter(to: BreakerState, reason: StateChangeReason): void {
    const from = this.state;
    this.state = to;
    this.generation += 1;
    this.#probes = to === 'half-open' ? new HalfOpenProbes(this.#probeRule) : undefined;
    this.#rule.clear();
    if (from === to) return;
    this.transitions += 1;
    if (this.listeners.has('stateChange')) this.listeners.emit('stateChange', { from, to, reason });
  }

  #takeBackExpired(probes: HalfOpenProbes, now: number): void {
    const lost = probes.takeBackExpired(now);
    this.permitsLost += lost;
    for (let i = 0; i < lost; i += 1) this.listeners.emit('permitLost', { leaseMs: this.#openPeriod.leaseMs });
  }

  #restore(snapshot: BreakerSnapshot): void {
    this.state = snapshot.state;
    const wallNow = this.wallNow();
    this.#openPeriod.resume(this.#clock.now(), snapshot.openUntil - wallNow, snapshot.openings);
    if (snapshot.state === 'open' || snapshot.state === 'forced-open') this.openedAt = wallNow;
  }

  #member(): SharedMember {
    const circuit = this;
    return {
      name: this.name ?? '',
      get openForMs() {
        return circuit.state === 'open' ? circuit.openForMs(circuit.#clock.now()) : 0;
      },
      get openings() {
        return circuit.#openPeriod.openings;
      },
      openedElsewhere: (forMs, openings) => this.#openedElsewhere(forMs, openings),
      closedElsewhere: () => {
        if (this.state === 'open' || this.state === 'half-open') this.#close('shared');
      },
    };
  }

  #openedElsewhere(forMs: number, openings: number): void {
    if (this.state === 'forced-open' || this.state === 'forced-closed') return;
    const now = this.#clock.now();
    // What is known here is not forgotten because others know less.
    const leftMs = this.state === 'open' ? Math.max(forMs, this.openForMs(now)) : forMs;
    this.#openPeriod.resume(now, leftMs, Math.max(openings, this.#openPeriod.openings));
    if (this.state === 'open') return;
    this.openedAt = this.wallNow();
    this.#enter('open', 'shared');
  }
}
