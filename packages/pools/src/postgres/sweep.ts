import { longestTimerMs } from '../check-options.ts';
import type { ConnectionStock } from './connection-stock.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';

/** Closes connections that were idle for long, and puts new ones in the place of those that are too old. */
export class Sweep {
  readonly #settings: PoolSettings;
  readonly #stock: ConnectionStock;
  #timer: unknown;
  #comesAt = Number.POSITIVE_INFINITY;

  constructor(settings: PoolSettings, stock: ConnectionStock) {
    this.#settings = settings;
    this.#stock = stock;
  }

  /** Comes when a connection that has come to rest is due, unless it comes before that anyway. */
  comeFor({ lastUsedAt, expiresAt }: PgConnection): void {
    const { clock, minSize, maxIdleMs } = this.#settings;
    const due = this.#stock.size > minSize ? Math.min(expiresAt, lastUsedAt + maxIdleMs) : expiresAt;
    if (due >= this.#comesAt || this.#stock.closed) return;
    const ms = Math.max(1, due - clock.now());
    if (ms > longestTimerMs) return;
    clock.clearTimeout(this.#timer);
    this.#comesAt = due;
    this.#timer = clock.setTimeout(() => this.#run(), ms);
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }

  stop(): void {
    this.#settings.clock.clearTimeout(this.#timer);
  }

  #run(): void {
    this.#comesAt = Number.POSITIVE_INFINITY;
    const { clock, minSize, maxIdleMs } = this.#settings;
    const now = clock.now();
    for (const connection of [...this.#stock.idle]) {
      const needed = this.#stock.size <= minSize;
      if (connection.expiresAt <= now) this.#stock.retire(connection);
      else if (!needed && connection.lastUsedAt <= now - maxIdleMs) this.#stock.removeIdle(connection, 'idle');
    }
    for (const connection of this.#stock.idle) this.comeFor(connection);
  }
}
