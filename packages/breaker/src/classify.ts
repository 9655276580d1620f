/** How a call ended: what it returned, or what it threw. */
export type Outcome<T = unknown> = { value: T } | { error: unknown };

/**
 * What an outcome says about the dependency. `ignore` says nothing: it is not counted, and a probe's permit goes back
 * without a verdict. A failure with `retryAfterMs` opens the circuit at once, for that long.
 */
export type Verdict = 'success' | 'failure' | 'ignore' | { failure: true; retryAfterMs?: number | undefined };

export type Classify = (outcome: Outcome) => Verdict;

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
