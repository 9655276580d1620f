export type { CircuitBreakerOptions } from './breaker-options.ts';
export { BreakerRegistry, type BreakerRegistryOptions } from './breaker-registry.ts';
export {
  type BreakerEvents,
  type BreakerRunOptions,
  type BreakerState,
  type BreakerStats,
  CircuitBreaker,
  type StateChangeReason,
} from './circuit-breaker.ts';
export { type Classify, classifyThrown, type Outcome, type Verdict } from './classify.ts';
export type { Clock } from './clock.ts';
export { CircuitOpenError, type CircuitOpenErrorOptions } from './errors.ts';
export type { Permit } from './permit.ts';
export type { RunContext } from './run-context.ts';
export type { BreakerSnapshot } from './snapshot.ts';
export type { TripReason } from './trip-rule.ts';
