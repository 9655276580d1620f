import type { Clock } from '../clock.ts';

export interface RedisAvailabilityOptions {
  commandTimeoutMs: number;
  retryAfterMs: number;
  clock: Clock;
  /** Asks Redis for a sign of life. */
  probe: () => Promise<unknown>;
}

/** Redis did not answer in time. */
class RedisTimeoutError extends Error {
  override readonly name = 'RedisTimeoutError';
}

/**
 * Bounds what a slow or dead Redis may cost: the first command that fails marks it as away, then nobody waits for it, and
 * a probe now and then, on no caller's time, finds out when it is back.
 */
export class RedisAvailability {
  readonly #options: RedisAvailabilityOptions;
  #available = true;
  #stopped = false;
  #timer: unknown;

  constructor(options: RedisAvailabilityOptions) {
    this.#options = options;
  }

  /** Whether to ask Redis now. */
  get available(): boolean {
    return this.#available;
  }

  /** Runs one command under the time-out; a failure of any kind marks Redis as away. */
  async guard<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await this.#inTime(command());
    } catch (error) {
      this.markAway();
      throw error;
    }
  }

  markAway(): void {
    this.#available = false;
    if (this.#stopped || this.#timer !== undefined) return;
    this.#timer = this.#options.clock.setTimeout(() => void this.#probe(), this.#options.retryAfterMs);
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }

  /** No probe begins any more. */
  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer);
  }

  async #probe(): Promise<void> {
    try {
      await this.#inTime(this.#options.probe());
      this.#timer = undefined;
      this.#available = true;
    } catch {
      this.#timer = undefined;
      this.markAway();
    }
  }

  #inTime<T>(answered: Promise<T>): Promise<T> {
    const { clock, commandTimeoutMs } = this.#options;
    return new Promise<T>((resolve, reject) => {
      const expire = (): void => reject(new RedisTimeoutError(`Redis did not answer in ${commandTimeoutMs} ms`));
      // After a busy event loop the answer may be there already, unread: sockets come after timers.
      const timer = clock.setTimeout(() => setImmediate(expire), commandTimeoutMs);
      answered.then(resolve, reject).finally(() => clock.clearTimeout(timer));
    });
  }
}
