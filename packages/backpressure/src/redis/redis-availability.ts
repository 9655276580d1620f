import type { Clock } from '../clock.ts';

export interface RedisAvailabilityOptions {
  commandTimeoutMs: number;
  retryAfterMs: number;
  clock: Clock;
  /** Told why Redis counts as away, once each time. */
  onAway: (error: unknown) => void;
}

/** Redis did not answer in time, or is not connected. */
class RedisAwayError extends Error {
  override readonly name = 'RedisAwayError';
  readonly code = 'ERR_REDIS_UNAVAILABLE';
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
  #probe: () => Promise<unknown> = () => Promise.resolve();
  #nextProbeAt = 0;

  constructor(options: RedisAvailabilityOptions) {
    this.#options = options;
  }

  /** Whether to ask Redis now. */
  get available(): boolean {
    return this.#available;
  }

  /** Until Redis may be back, in milliseconds. */
  get awayMs(): number {
    return this.#available ? 0 : Math.max(1, Math.ceil(this.#nextProbeAt - this.#options.clock.now()));
  }

  /** Runs one command under the time-out. A failure of any kind marks Redis as away, until `probe`, which does the like, succeeds. */
  async guard<T>(command: () => Promise<T>, probe: () => Promise<unknown>): Promise<T> {
    try {
      return await this.#inTime(command);
    } catch (error) {
      this.markAway(error, probe);
      throw error;
    }
  }

  markAway(error: unknown, probe: () => Promise<unknown>): void {
    this.#probe = probe;
    if (this.#available) {
      this.#available = false;
      try {
        this.#options.onAway(error);
      } catch {
        // Whoever is told must not take calls down.
      }
    }
    this.#probeLater();
  }

  /** No probe begins any more. */
  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer);
  }

  #probeLater(): void {
    const { clock, retryAfterMs } = this.#options;
    if (this.#stopped || this.#timer !== undefined) return;
    this.#nextProbeAt = clock.now() + retryAfterMs;
    this.#timer = clock.setTimeout(() => void this.#tryProbe(), retryAfterMs);
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }

  async #tryProbe(): Promise<void> {
    try {
      await this.#inTime(this.#probe);
      this.#timer = undefined;
      this.#available = true;
    } catch {
      this.#timer = undefined;
      this.#probeLater();
    }
  }

  async #inTime<T>(command: () => Promise<T>): Promise<T> {
    const { clock, commandTimeoutMs } = this.#options;
    let timer: unknown;
    const tooLate = new Promise<never>((_, reject) => {
      const expire = (): void => reject(away(`Redis did not answer in ${commandTimeoutMs} ms`));
      // After a busy event loop the answer may be there already, unread: sockets come after timers.
      timer = clock.setTimeout(() => setImmediate(expire), commandTimeoutMs);
    });
    try {
      return await Promise.race([command(), tooLate]);
    } finally {
      clock.clearTimeout(timer);
    }
  }
}

export function away(what: string): Error {
  return new RedisAwayError(`@x/backpressure: ${what}`);
}
