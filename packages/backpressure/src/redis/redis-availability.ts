import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../clock.ts';
import { timerMs } from '../timer-ms.ts';
import { PendingCommands } from './pending-commands.ts';

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
  readonly #commands: PendingCommands;
  // A probe is on no caller's behalf.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #available = true;
  #stopped = false;
  #timer: unknown;
  #probe: () => Promise<unknown> = () => Promise.resolve();
  #mayBeBackAt = 0;

  constructor(options: RedisAvailabilityOptions) {
    this.#options = options;
    const { clock, commandTimeoutMs } = options;
    const late = `Redis did not answer in ${commandTimeoutMs} ms`;
    this.#commands = new PendingCommands(clock, commandTimeoutMs, () => away(late));
  }

  /** Whether to ask Redis now. */
  get available(): boolean {
    return this.#available;
  }

  /** Until Redis may be back, in milliseconds. */
  get awayMs(): number {
    return this.#available ? 0 : Math.max(1, Math.ceil(this.#mayBeBackAt - this.#options.clock.now()));
  }

  /**
   * What one command gives, under the time-out; undefined where it fails. A failure of any kind marks Redis as away, until `probe`, which does the
   * like, succeeds.
   */
  async guard<T>(command: () => Promise<T>, probe: () => Promise<unknown>): Promise<T | undefined> {
    try {
      return await this.#commands.run(command);
    } catch (error) {
      this.markAway(error, probe);
      return undefined;
    }
  }

  markAway(error: unknown, probe: () => Promise<unknown>): void {
    this.#probe = probe;
    if (this.#available) {
      this.#available = false;
      void this.#tell(error);
    }
    this.#probeLater();
  }

  /** No probe begins any more. */
  stop(): void {
    this.#stopped = true;
    this.#commands.close();
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer);
  }

  async #tell(error: unknown): Promise<void> {
    try {
      await this.#options.onAway(error);
    } catch {
      // Whoever is told must not take calls down.
    }
  }

  #probeLater(): void {
    const { clock, retryAfterMs } = this.#options;
    if (this.#stopped || this.#timer !== undefined) return;
    this.#mayBeBackAt = clock.now() + retryAfterMs;
    this.#timer = this.#inOwnContext(() => clock.setTimeout(() => void this.#tryProbe(), timerMs(retryAfterMs)));
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }

  async #tryProbe(): Promise<void> {
    const { clock, commandTimeoutMs } = this.#options;
    this.#mayBeBackAt = clock.now() + commandTimeoutMs;
    try {
      await this.#commands.run(this.#probe);
      this.#timer = undefined;
      this.#available = true;
    } catch {
      this.#timer = undefined;
      this.#probeLater();
    }
  }
}

export function away(what: string): Error {
  return new RedisAwayError(`@x/backpressure: ${what}`);
}
