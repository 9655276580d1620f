import { wrongOption } from './option-checks.ts';

/** How a call ended: what it returned, or what it threw. */
export type Outcome<T = unknown> = { value: T } | { error: unknown };

/**
 * What an outcome says about the dependency. `ignore` says nothing: it is not counted, and a probe's permit goes back
 * without a verdict. A failure with `retryAfterMs` opens the circuit at once, for that long.
 */
export type Verdict = 'success' | 'failure' | 'ignore' | { failure: true; retryAfterMs?: number | undefined };

/** `undefined` leaves the outcome to the next classifier: the call's to the breaker's, the breaker's to the default. */
export type Classify = (outcome: Outcome) => Verdict | undefined;

/** The verdict of the first classifier that has one, else of `classifyThrown`. Throws a TypeError if it is none. */
export function judge(outcome: Outcome, own: Classify | undefined, breakers: Classify | undefined): Verdict {
  const verdict = own?.(outcome) ?? breakers?.(outcome) ?? classifyThrown(outcome);
  const known = verdict === 'success' || verdict === 'failure' || verdict === 'ignore';
  if (known || (typeof verdict === 'object' && verdict.failure === true)) return verdict;
  throw wrongOption(
    'what classify returns',
    "'success', 'failure', 'ignore' or { failure: true, retryAfterMs }",
    verdict,
  );
}

/**
 * The default. Whatever is returned is a success and whatever is thrown a failure, except what says nothing about the
 * dependency: an abort (a time-out is none), and a refusal made on this side of it by a breaker or a limiter.
 */
export function classifyThrown(outcome: Outcome): Verdict {
  if ('value' in outcome) return 'success';
  const { name, code } = (outcome.error ?? {}) as { name?: unknown; code?: unknown };
  if (name === 'AbortError' || code === 'ABORT_ERR') return 'ignore';
  if (code === 'ERR_CIRCUIT_OPEN' || code === 'ERR_OVERLOADED' || code === 'ERR_RATE_LIMITED') return 'ignore';
  return 'failure';
}
