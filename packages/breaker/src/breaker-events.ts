import type { TripReason } from './trip-rule.ts';

export type BreakerState = 'closed' | 'open' | 'half-open' | 'forced-open' | 'forced-closed';

export type StateChangeReason =
  | TripReason
  /** The dependency asked to be left alone. */
  | 'retry-after'
  /** The open period is over, and a call came that may be a probe. */
  | 'recovery-timeout'
  | 'probe-passed'
  | 'probe-failed'
  /** Another process said so, through a shared state. */
  | 'shared'
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
