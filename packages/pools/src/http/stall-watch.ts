import { AsyncLocalStorage } from 'node:async_hooks';
import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';

/** What ends when its server is silent for too long. */
export interface Stallable {
  /** By the clock. */
  stallsAt: number;
  stalled(): void;
}

/**
 * Watches the exchanges of a pool for silence. undici has such time-outs too, but counts them in seconds, so that a short one
 * may come a second late. One timer for all, armed for the first that may be due and left armed when that one ends: a timer
 * for each exchange was a tenth of what a short request costs.
 */
export class StallWatch {
  readonly #clock: Clock;
  readonly #headersMs: number;
  readonly #bodyMs: number;
  readonly #exchanges = new Set<Stallable>();
  // The timer outlives the exchange it was armed for.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #timer: unknown;
  #firesAt = Number.POSITIVE_INFINITY;

  /** How long until the headers, and between two pieces of a body. Milliseconds; 0 is no limit. */
  constructor(clock: Clock, headersMs: number, bodyMs: number) {
    this.#clock = clock;
    this.#headersMs = limit(headersMs);
    this.#bodyMs = limit(bodyMs);
  }

  /** The request has been written, and its answer is awaited. */
  sent(exchange: Stallable): void {
    this.#exchanges.add(exchange);
    this.#expectWithin(this.#headersMs, exchange);
  }

  /** Something of the answer has come, or its reader is ready for more. */
  heard(exchange: Stallable): void {
    this.#exchanges.add(exchange);
    this.#expectWithin(this.#bodyMs, exchange);
  }

  /** Its reader is not ready for more, so that the server has to be silent. */
  hold(exchange: Stallable): void {
    exchange.stallsAt = Number.POSITIVE_INFINITY;
  }

  /** It is over. */
  leave(exchange: Stallable): void {
    this.#exchanges.delete(exchange);
  }

  #expectWithin(ms: number, exchange: Stallable): void {
    exchange.stallsAt = this.#clock.now() + ms;
    if (exchange.stallsAt < this.#firesAt) this.#arm(ms, exchange.stallsAt);
  }

  #arm(ms: number, due: number): void {
    this.#clock.clearTimeout(this.#timer);
    this.#firesAt = due;
    this.#timer = this.#inOwnContext(() => this.#clock.setTimeout(() => this.#look(), ms));
    // An exchange that is under way keeps the process by its socket.
    (this.#timer as { unref?(): void } | undefined)?.unref?.();
  }

  #look(): void {
    this.#firesAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const exchange of this.#exchanges) {
      // Timers count whole milliseconds, and may fire by a part of one too early.
      if (exchange.stallsAt < now + 1) {
        this.#exchanges.delete(exchange);
        exchange.stalled();
      } else next = Math.min(next, exchange.stallsAt);
    }
    if (next < this.#firesAt) this.#arm(next - now, next);
  }
}

function limit(ms: number): number {
  return ms === 0 || ms > longestTimerMs ? Number.POSITIVE_INFINITY : ms;
}
