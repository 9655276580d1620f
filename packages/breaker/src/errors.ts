export interface CircuitOpenErrorOptions {
  /** The breaker's name. */
  dependency?: string | undefined;
  /** Milliseconds until a call may be admitted; left out when waiting does not help (forced open). */
  retryAfterMs?: number | undefined;
  /** The failure that the circuit saw last. */
  cause?: unknown;
  /** Whether to capture a stack trace. Default false: it costs several times as much as the rest of a refusal. */
  stackTrace?: boolean | undefined;
}

/** The call was refused: it never reached the dependency. */
export class CircuitOpenError extends Error {
  override readonly name = 'CircuitOpenError';
  readonly code = 'ERR_CIRCUIT_OPEN';
  readonly dependency: string | undefined;
  readonly retryAfterMs: number | undefined;

  private constructor(options: CircuitOpenErrorOptions) {
    const { dependency, retryAfterMs, cause } = options;
    const when = retryAfterMs === undefined ? 'it is held open' : `retry in ${Math.ceil(retryAfterMs)} ms`;
    super(`circuit ${dependency === undefined ? '' : `"${dependency}" `}is open: ${when}`);
    if (cause !== undefined) Object.defineProperty(this, 'cause', { value: cause, configurable: true, writable: true });
    this.dependency = dependency;
    this.retryAfterMs = retryAfterMs;
  }

  static create(options: CircuitOpenErrorOptions): CircuitOpenError {
    if (options.stackTrace) return new CircuitOpenError(options);
    const limit = Error.stackTraceLimit;
    // Reflect.set, because the property cannot be written where the intrinsics are frozen: then the stack is captured after all.
    Reflect.set(Error, 'stackTraceLimit', 0);
    try {
      return new CircuitOpenError(options);
    } finally {
      Reflect.set(Error, 'stackTraceLimit', limit);
    }
  }
}
