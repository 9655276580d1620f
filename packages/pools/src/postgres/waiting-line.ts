import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import type { PgConnection } from './pg-connection.ts';

interface Waiter {
  readonly take: (connection: PgConnection) => void;
  readonly refuse: (error: unknown) => void;
}

/** The callers who wait for a connection, first come first served. */
export class WaitingLine {
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();
  #timeouts = 0;
  #waitedMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get length(): number {
    return this.#waiters.size;
  }

  /** How often the time to wait was over. */
  get timeouts(): number {
    return this.#timeouts;
  }

  /** The sum of all waiting. */
  get waitedMs(): number {
    return this.#waitedMs;
  }

  /** Waits for a connection. When the time is over, rejects with what `timedOut` makes. */
  join(signal: AbortSignal | undefined, timeoutMs: number, timedOut: () => unknown): Promise<PgConnection> {
    return new Promise((resolve, reject) => {
      const since = this.#clock.now();
      const leave = (): void => {
        this.#waiters.delete(waiter);
        this.#clock.clearTimeout(timer);
        removeAbort?.();
        this.#waitedMs += this.#clock.now() - since;
      };
      const waiter: Waiter = {
        take: (connection) => {
          leave();
          connection.record.takenAt = this.#clock.now();
          resolve(connection);
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      };
      const timer =
        timeoutMs > longestTimerMs
          ? undefined
          : this.#clock.setTimeout(() => {
              this.#timeouts++;
              waiter.refuse(timedOut());
            }, timeoutMs);
      const removeAbort = signal === undefined ? undefined : onAbort(signal, () => waiter.refuse(signal.reason));
      this.#waiters.add(waiter);
    });
  }

  /** Gives a connection to the one who came first. `false`: nobody waits. */
  serve(connection: PgConnection): boolean {
    for (const waiter of this.#waiters) {
      waiter.take(connection);
      return true;
    }
    return false;
  }

  refuseAll(error: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.refuse(error);
  }
}
