/** Why work was refused. */
export type RejectReason = 'queue_full' | 'queue_timeout' | 'deadline' | 'shed' | 'rate_limited' | 'draining';

/**
 * Work was refused before it started. Test for it by `code`, never by `instanceof`. It has no stack: it is made by the
 * thousand when a server is overloaded, and a stack would cost more than the rest of the refusal.
 */
export class OverloadedError extends Error {
  readonly code = 'ERR_OVERLOADED';
  readonly reason: RejectReason;
  /** When to try again, in milliseconds. Already jittered. */
  readonly retryAfterMs: number;

  constructor(reason: RejectReason, retryAfterMs: number, what: string) {
    const depth = stackDepth(0);
    super(`${what}: ${explanations[reason]}; retry in ${seconds(retryAfterMs)} s`);
    stackDepth(depth);
    this.name = 'OverloadedError';
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Work was started and did not end within `timeoutMs`. */
export class TimeoutError extends Error {
  readonly code = 'ERR_TIMEOUT';
  readonly timeoutMs: number;

  constructor(timeoutMs: number, what: string) {
    const depth = stackDepth(0);
    super(`${what}: the call did not end within ${timeoutMs} ms`);
    stackDepth(depth);
    this.name = 'TimeoutError';
    this.timeoutMs = timeoutMs;
  }
}

const explanations: Record<RejectReason, string> = {
  queue_full: 'the queue is full',
  queue_timeout: 'waited too long for its turn',
  deadline: 'could not have ended before its deadline',
  shed: 'shed to protect what is more important',
  rate_limited: 'too many calls from this caller',
  draining: 'shutting down',
};

function seconds(ms: number): number {
  return Math.ceil(ms / 100) / 10;
}

/** Sets how deep stacks are and returns how deep they were; a realm that froze `Error` keeps its stacks. */
function stackDepth(depth: number): number {
  const before = Error.stackTraceLimit;
  Reflect.set(Error, 'stackTraceLimit', depth);
  return before;
}
