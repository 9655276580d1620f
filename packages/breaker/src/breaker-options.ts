import type { Classify } from './classify.ts';
import { type Clock, systemClock } from './clock.ts';
import { ConsecutiveRule } from './consecutive-rule.ts';
import type { ProbeRule } from './half-open-probes.ts';
import {
  checkDuration,
  checkFinite,
  checkFunction,
  checkInteger,
  checkMethods,
  checkOptionalFunction,
  checkOptionalObject,
  checkOptionalString,
  checkRatio,
  checkShare,
  wrongOption,
} from './option-checks.ts';
import { CountWindow, TimeWindow } from './outcome-window.ts';
import { RateRule } from './rate-rule.ts';
import type { SharedState } from './shared-state.ts';
import type { BreakerSnapshot } from './snapshot.ts';
import { AnyRule, type TripRule } from './trip-rule.ts';

export interface CircuitBreakerOptions {
  /** The dependency's name, for messages. Default: none. */
  name?: string | undefined;
  /** So many failures in a row open the circuit. Default 5; once a `window` is given, off unless given too. */
  failureThreshold?: number | undefined;
  /** What rates are computed over: the last `calls` outcomes, or those of the last `ms` milliseconds (in `buckets`, default 10). Default: none. */
  window?: { calls: number } | { ms: number; buckets?: number | undefined } | undefined;
  /** The share of failures in the window that opens the circuit, above 0 and up to 1. Default 0.5. */
  failureRate?: number | undefined;
  /** No rate is looked at below so many outcomes in the window. Default 10, or the window's size if that is less. */
  minimumCalls?: number | undefined;
  /** Calls that took `ms` or longer are slow; a share of `rate` of them in the window opens the circuit. Default: none. */
  slowCall?: { ms: number; rate: number } | undefined;
  /** How long the circuit stays open before it is probed. Milliseconds, default 60,000. */
  recoveryTimeoutMs?: number | undefined;
  /**
   * Each further opening without a recovery between lasts `factor` times as long, up to `maxMs`; with `jitter` (0 to 1,
   * default 0) up to that share of it is taken off at random. Default: always `recoveryTimeoutMs`.
   */
  recoveryBackoff?: { factor: number; maxMs: number; jitter?: number | undefined } | undefined;
  /** The longest that a dependency's own `Retry-After`, or a restored state, may keep the circuit open. Milliseconds, default one hour. */
  maxRetryAfterMs?: number | undefined;
  /** How many probes a half-open circuit admits, and how many outcomes decide. Default 1. */
  halfOpenCalls?: number | undefined;
  /** A probe that has not ended by then loses its permit, and its result no longer counts. Milliseconds. Default: the open period before it, at least `recoveryTimeoutMs`. */
  probeLeaseMs?: number | undefined;
  /** Which calls may be probes, by the `context` given to `run` or `tryAcquire`. Default: all. */
  admit?: ((context: unknown) => boolean) | undefined;
  /** What an outcome says about the dependency; `undefined` leaves it to the default: what is thrown is a failure, aborts and local refusals aside. */
  classify?: Classify | undefined;
  /** What `toJSON()` gave, maybe in another process. Refused if it is none; capped if it lies too far ahead. */
  initialState?: BreakerSnapshot | undefined;
  /** Shares the circuit with the breakers of the same `name` in other processes (`@x/breaker/redis`). Default: none. */
  shared?: SharedState | undefined;
  /** Whether a `CircuitOpenError` has a stack trace. Default false: the trace would be most of the cost of a refusal. */
  stackTraces?: boolean | undefined;
  /** Default: the process's monotonic clock. */
  clock?: Clock | undefined;
  /** For `recoveryBackoff.jitter`: from 0 up to 1. Default `Math.random`. */
  random?: (() => number) | undefined;
}

/** Throws unless the options that no rule and no time-out reads are as they should be. */
export function checkBreakerOptions(options: CircuitBreakerOptions): void {
  checkOptionalObject('options', 'an object', options);
  const { name, classify, admit, clock = systemClock, stackTraces = false, shared } = options;
  checkOptionalString('name', name);
  checkOptionalFunction('classify', classify);
  checkOptionalFunction('admit', admit);
  checkMethods('clock', clock, ['now']);
  if (typeof stackTraces !== 'boolean') throw wrongOption('stackTraces', 'true or false', stackTraces);
  if (shared === undefined) return;
  checkMethods('shared', shared, ['join']);
  if (name === undefined) throw wrongOption('name', 'given with shared', undefined);
}

/** The options that only the breaker's time-outs read, checked and with defaults. */
export interface Recovery {
  readonly timeoutMs: number;
  readonly factor: number;
  readonly maxMs: number;
  readonly jitter: number;
  readonly maxRetryAfterMs: number;
  readonly leaseMs: number | undefined;
  readonly random: () => number;
}

export function checkRecovery(options: CircuitBreakerOptions): Recovery {
  const { recoveryTimeoutMs = 60_000, recoveryBackoff, maxRetryAfterMs = 3_600_000, probeLeaseMs } = options;
  const { random = Math.random } = options;
  checkFunction('random', random);
  checkOptionalObject('recoveryBackoff', '{ factor, maxMs, jitter? }', recoveryBackoff);
  checkDuration('recoveryTimeoutMs', recoveryTimeoutMs);
  checkDuration('maxRetryAfterMs', maxRetryAfterMs);
  if (probeLeaseMs !== undefined) checkDuration('probeLeaseMs', probeLeaseMs);
  const { factor = 1, maxMs = recoveryTimeoutMs, jitter = 0 } = recoveryBackoff ?? {};
  checkFinite('recoveryBackoff.factor', factor, 1);
  checkFinite('recoveryBackoff.maxMs', maxMs, recoveryTimeoutMs);
  checkRatio('recoveryBackoff.jitter', jitter);
  return { timeoutMs: recoveryTimeoutMs, factor, maxMs, jitter, maxRetryAfterMs, leaseMs: probeLeaseMs, random };
}

/** A byte is kept for each call, 24 for each bucket: what is more than so many is a mistake. */
const MOST_CALLS = 100_000_000;
const MOST_BUCKETS = 1_000_000;

/** More than all calls: never reached. */
const NO_RATE = 2;

/** The rule for a closed circuit that the options ask for. */
export function createTripRule(options: CircuitBreakerOptions): TripRule {
  const { window, failureThreshold = window === undefined ? 5 : undefined, slowCall } = options;
  checkOptionalObject('window', '{ calls } or { ms, buckets? }', window);
  checkOptionalObject('slowCall', '{ ms, rate }', slowCall);
  const rules: TripRule[] = [];
  if (failureThreshold !== undefined) {
    checkInteger('failureThreshold', failureThreshold, 1);
    rules.push(new ConsecutiveRule(failureThreshold));
  }
  if (window === undefined) {
    for (const option of ['failureRate', 'minimumCalls', 'slowCall'] as const) {
      if (options[option] !== undefined) throw wrongOption('window', `given with ${option}`, undefined);
    }
  } else {
    const { failureRate = 0.5 } = options;
    checkShare('failureRate', failureRate);
    if (slowCall !== undefined) {
      checkDuration('slowCall.ms', slowCall.ms);
      checkShare('slowCall.rate', slowCall.rate);
    }
    const minimumCalls = checkMinimumCalls(options);
    rules.push(new RateRule(createWindow(window), { failureRate, slowRate: slowCall?.rate ?? NO_RATE, minimumCalls }));
  }
  return rules.length === 1 && rules[0] !== undefined ? rules[0] : new AnyRule(rules);
}

/** How a half-open circuit decides: as the rules do, by the rates alone, or, where failures in a row count, at the first failure. */
export function createProbeRule(options: CircuitBreakerOptions): ProbeRule {
  const { halfOpenCalls: calls = 1, window, failureThreshold, failureRate = 0.5, slowCall } = options;
  checkInteger('halfOpenCalls', calls, 1);
  const anyFailure = window === undefined || failureThreshold !== undefined;
  return { calls, failureRate: anyFailure ? 0 : failureRate, slowRate: slowCall?.rate ?? NO_RATE };
}

function checkMinimumCalls({ window, minimumCalls }: CircuitBreakerOptions): number {
  const size = callsOf(window);
  if (size !== undefined) checkInteger('window.calls', size, 1, MOST_CALLS);
  if (minimumCalls === undefined) return Math.min(10, size ?? 10);
  checkInteger('minimumCalls', minimumCalls, 1, size);
  return minimumCalls;
}

function createWindow(window: NonNullable<CircuitBreakerOptions['window']>): CountWindow | TimeWindow {
  const calls = callsOf(window);
  const { ms, buckets = 10 } = window as { ms?: number; buckets?: number | undefined };
  if (calls !== undefined) {
    if (ms !== undefined) throw wrongOption('window', '{ calls } or { ms, buckets? }, not both', window);
    return new CountWindow(calls);
  }
  checkDuration('window.ms', ms as number);
  checkInteger('window.buckets', buckets, 1, MOST_BUCKETS);
  return new TimeWindow(ms as number, buckets);
}

/** The size of a window of calls; `undefined` for one of time. */
export function callsOf(window: CircuitBreakerOptions['window']): number | undefined {
  return window !== undefined && 'calls' in window ? window.calls : undefined;
}
