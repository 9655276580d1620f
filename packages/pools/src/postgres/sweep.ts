import { longestTimerMs } from '../check-options.ts';
import type { ConnectionStock } from './connection-stock.ts';
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
      if (connection.expiresAt <= now) this.#stock.retire(connection);
      else if (!needed && connection.lastUsedAt <= now - maxIdleMs) this.#stock.removeIdle(connection, 'idle');
    }
    this.later();
  }
}
