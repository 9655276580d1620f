import { longestTimerMs } from '../check-options.ts';
import type { ConnectionStock } from './connection-stock.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';

/** Closes connections that were idle for long, puts new ones in the place of those that are too old, and has sessions made as new. */
export class Sweep {
  readonly #settings: PoolSettings;
  readonly #stock: ConnectionStock;
  #timer: unknown;
  #comesAt = Number.POSITIVE_INFINITY;
  #renewing = false;

  constructor(settings: PoolSettings, stock: ConnectionStock) {
    this.#settings = settings;
    this.#stock = stock;
  }

  /** Comes when a connection that has come to rest is due, unless it comes before that anyway. */
  comeFor({ record }: PgConnection): void {
    const { clock, minSize, maxIdleMs } = this.#settings;
    const idleUntil = this.#stock.size > minSize ? record.lastUsedAt + maxIdleMs : Number.POSITIVE_INFINITY;
    const renewAt = this.#renewing ? Number.POSITIVE_INFINITY : record.resetAt;
    const due = Math.min(record.expiresAt, renewAt, idleUntil);
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
      if (connection.record.expiresAt <= now) this.#stock.retire(connection);
      else if (!needed && connection.record.lastUsedAt <= now - maxIdleMs) this.#stock.removeIdle(connection, 'idle');
    }
    if (!this.#renewing) void this.#renew();
    this.#comeForAll();
  }

  #comeForAll(): void {
    for (const connection of this.#stock.idle) this.comeFor(connection);
  }

  /** One session at a time is made as new: the other connections are there for who comes meanwhile. */
  async #renew(): Promise<void> {
    const { clock } = this.#settings;
    const nextDue = () => this.#stock.idle.find(({ record }) => record.resetAt <= clock.now());
    this.#renewing = true;
    for (let due = nextDue(); due !== undefined; due = nextDue()) await this.#stock.renewIdle(due);
    this.#renewing = false;
    this.#comeForAll();
  }
}
