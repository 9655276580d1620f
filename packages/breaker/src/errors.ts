import type { inspect as Inspect, InspectOptions } from 'node:util';

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
  readonly code: 'ERR_CIRCUIT_OPEN';
  readonly dependency: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly #cause: unknown;

  static {
    // Once for all, rather than a property of each: a refusal is to cost as little as can be.
    CircuitOpenError.prototype.name = 'CircuitOpenError';
    // Node 22 and later show a cause only if it is the error's own property.
    Object.defineProperty(CircuitOpenError.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value(this: CircuitOpenError, _depth: number, options: InspectOptions, inspect: typeof Inspect): string {
        if (this.#cause !== undefined) Reflect.defineProperty(this, 'cause', { value: this.#cause });
        return inspect(this, { ...options, customInspect: false });
      },
    });
  }

  private constructor({ dependency, retryAfterMs, cause }: CircuitOpenErrorOptions) {
    const circuit = dependency === undefined ? 'circuit' : `circuit "${dependency}"`;
    super(
      `${circuit} is open: ${retryAfterMs === undefined ? 'it is held open' : `retry in ${Math.ceil(retryAfterMs)} ms`}`,
    );
    this.#cause = cause;
    this.code = 'ERR_CIRCUIT_OPEN';
    this.dependency = dependency;
    this.retryAfterMs = retryAfterMs;
  }

  /** The failure that the circuit saw last. Not handed to `Error`, whose own way to set it takes half as long as the whole refusal. */
  override get cause(): unknown {
    return this.#cause;
  }

  static create(options: CircuitOpenErrorOptions): CircuitOpenError {
    const limit = Error.stackTraceLimit;
    if (options.stackTrace || limit === 0 || !setStackTraceLimit(0)) return new CircuitOpenError(options);
    const error = new CircuitOpenError(options);
    setStackTraceLimit(limit);
    return error;
  }
}

// The property cannot be written where the intrinsics are frozen; the stack is captured then after all.
function setStackTraceLimit(limit: number): boolean {
  try {
    Error.stackTraceLimit = limit;
    return true;
  } catch {
    return false;
  }
}
