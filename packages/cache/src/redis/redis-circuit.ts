import type { Clock } from '../clock.ts';

export interface RedisCircuitOptions {
  commandTimeoutMs: number;
  retryAfterMs: number;
  clock: Clock;
  /** Succeeds when Redis is well again and what it missed has been made up for. */
  recover: () => Promise<void>;
}

/** Redis did not answer in time, or is not connected. */
export class RedisUnavailableError extends Error {
  override readonly name = 'RedisUnavailableError';
  readonly code = 'ERR_REDIS_UNAVAILABLE';
}

/**
 * Bounds what a slow or dead Redis may cost: the first command that fails closes the way to it, nobody else waits, and one probe
 * at a time, on nobody's time, finds out when it is back.
 */
export class RedisCircuit {
  readonly #options: RedisCircuitOptions;
  #closed = true;
  #timer: unknown;

  constructor(options: RedisCircuitOptions) {
    this.#options = options;
  }

  /** Whether a command may be sent now. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Runs one command under the time-out; a failure opens the circuit. */
  async guard<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await this.#inTime(command());
    } catch (error) {
      if (!isWrongType(error)) this.trip();
      throw error;
    }
  }

  trip(): void {
    this.#closed = false;
    if (this.#timer !== undefined) return;
    this.#timer = this.#options.clock.setTimeout(() => void this.#probe(), this.#options.retryAfterMs);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  stop(): void {
    this.#options.clock.clearTimeout(this.#timer);
  }

  async #probe(): Promise<void> {
    try {
      await this.#options.recover();
      this.#timer = undefined;
      this.#closed = true;
    } catch {
      this.#timer = undefined;
      this.trip();
    }
  }

  #inTime<T>(command: Promise<T>): Promise<T> {
    const { clock, commandTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = clock.setTimeout(() => {
        // After a busy event loop the answer may be there already, unread: sockets come after timers.
        setImmediate(() =>
          reject(new RedisUnavailableError(`@x/cache: Redis did not answer in ${commandTimeoutMs} ms`)),
        );
      }, commandTimeoutMs);
      command.then(
        (answer) => {
          clock.clearTimeout(timer);
          resolve(answer);
        },
        (error: unknown) => {
          clock.clearTimeout(timer);
          reject(error);
        },
      );
    });
  }
}

/** Redis is there and says that the key holds something else: the key's fault, not the server's. */
export function isWrongType(error: unknown): boolean {
  return error instanceof Error && error.message.includes('WRONGTYPE');
}
