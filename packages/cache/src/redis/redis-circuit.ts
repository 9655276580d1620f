import type { Clock } from '../clock.ts';
import { PendingCommands } from './pending-commands.ts';

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
  #stopped = false;
  #timer: unknown;
  readonly #pending = new PendingCommands();
  #watch: unknown;

  constructor(options: RedisCircuitOptions) {
    this.#options = options;
  }

  /** Whether a command may be sent now. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether no command waits for its answer. */
  get idle(): boolean {
    return this.#pending.oldest === undefined;
  }

  /** Runs one command under the time-out; a failure opens the circuit. A key that holds something that is not ours is a miss. */
  guard(command: () => Promise<unknown>): Promise<unknown> {
    return this.read(command, itself);
  }

  /** The same, with what `read` makes of the answer: one promise for both. */
  read<T>(command: () => Promise<unknown>, read: (answer: unknown) => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const answered = command();
      const pending = this.#pending.add(this.#options.clock.now(), reject);
      if (this.#watch === undefined) this.#watchFor(this.#options.commandTimeoutMs);
      answered.then(
        (answer) => {
          if (this.#pending.remove(pending)) settle(answer, read, resolve, reject);
        },
        (error: unknown) => {
          const waitedFor = this.#pending.remove(pending);
          if (!isWrongType(error)) {
            this.trip();
            reject(error);
          } else if (waitedFor) settle(undefined, read, resolve, reject);
        },
      );
    });
  }

  trip(): void {
    this.#closed = false;
    if (this.#stopped || this.#timer !== undefined) return;
    this.#timer = this.#options.clock.setTimeout(() => void this.#probe(), this.#options.retryAfterMs);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** No probe begins any more; one that runs may still come to its end. */
  stop(): void {
    this.#stopped = true;
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

  /** One timer for all commands, since a timer for each would cost more than the rest of a hit. The sockets keep the process alive, not this. */
  #watchFor(ms: number): void {
    this.#watch = this.#options.clock.setTimeout(() => {
      this.#watch = undefined;
      // After a busy event loop the answers may be there already, unread: sockets come after timers.
      setImmediate(() => this.#expire());
    }, ms);
    (this.#watch as { unref?: () => void }).unref?.();
  }

  #expire(): void {
    const { clock, commandTimeoutMs } = this.#options;
    const now = clock.now();
    for (let { oldest } = this.#pending; oldest !== undefined; oldest = this.#pending.oldest) {
      const leftMs = oldest.since + commandTimeoutMs - now;
      if (leftMs > 0) {
        if (this.#watch === undefined) this.#watchFor(leftMs);
        return;
      }
      this.#pending.remove(oldest);
      this.trip();
      oldest.reject(new RedisUnavailableError(`@x/cache: Redis did not answer in ${commandTimeoutMs} ms`));
    }
  }
}

/** Resolves with what is read from an answer. */
export function settle<T>(
  answer: unknown,
  read: (answer: unknown) => T | Promise<T>,
  resolve: (read: T | Promise<T>) => void,
  reject: (error: unknown) => void,
): void {
  try {
    resolve(read(answer));
  } catch (error) {
    reject(error);
  }
}

function itself(answer: unknown): unknown {
  return answer;
}

/** Redis is there and says that the key holds something else: the key's fault, not the server's. */
function isWrongType(error: unknown): boolean {
  return error instanceof Error && error.message.includes('WRONGTYPE');
}
