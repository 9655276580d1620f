import { longestTimerMs } from '../check-options.ts';
import type { ConnectionStock } from './connection-stock.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';

/** Closes connections that were idle for long, and puts new ones in the place of those that are too old. */
export class Sweep {
  readonly #settings: PoolSettings;
  readonly #stock: ConnectionStock;
  #timer: unknown;

  constructor(settings: PoolSettings, stock: ConnectionStock) {
    this.#settings = settings;
    this.#stock = stock;
  }

  /** Comes back when the first of the idle connections is due. */
  later(): void {
    const { clock, minSize, maxIdleMs, maxLifetimeMs } = this.#settings;
    if (this.#timer !== undefined || this.#stock.closed) return;
    const mayShrink = this.#stock.size > minSize;
    if (!mayShrink && maxLifetimeMs === Number.POSITIVE_INFINITY) return;
    let due = Number.POSITIVE_INFINITY;
    for (const { lastUsedAt, expiresAt } of this.#stock.idle) {
      due = Math.min(due, expiresAt, mayShrink ? lastUsedAt + maxIdleMs : due);
    }
    const ms = due - clock.now();
    if (ms > longestTimerMs) return;
    this.#timer = clock.setTimeout(
      () => {
        this.#timer = undefined;
        this.#run();
      },
      Math.max(1, ms),
    );
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }

  stop(): void {
    this.#settings.clock.clearTimeout(this.#timer);
  }

  #run(): void {
    const { clock, minSize, maxIdleMs } = this.#settings;
    const now = clock.now();
    for (const connection of [...this.#stock.idle]) {
      const needed = this.#stock.size <= minSize;
      if (connection.expiresAt <= now) this.#retire(connection, needed);
      else if (!needed && connection.lastUsedAt <= now - maxIdleMs) this.#stock.removeIdle(connection, 'idle');
    }
    this.later();
  }

  /** Puts a new connection in the place of one that is too old, and only then closes that. */
  #retire(connection: PgConnection, needed: boolean): void {
    const { clock, maxSize } = this.#settings;
    if (!needed || this.#stock.size >= maxSize) {
      this.#stock.removeIdle(connection, 'lifetime');
      return;
    }
    if (this.#stock.size + this.#stock.connecting >= maxSize) {
      // Another one is being replaced: one after the other.
      connection.expiresAt = clock.now() + retireAgainMs;
      return;
    }
    // It works still: when the server cannot be reached, it is tried again later.
    connection.expiresAt = clock.now() + this.#settings.connection.connectTimeoutMs;
    this.#stock.add().then(
      () => {
        this.#stock.removeIdle(connection, 'lifetime');
        // Lent out meanwhile: it goes when it comes back.
        connection.expiresAt = 0;
      },
      () => {},
    );
  }
}

const retireAgainMs = 50;
