import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import type { PgConnection } from './pg-connection.ts';
import { tell } from './tell.ts';

/** A connection that has been out for longer than `leakDetectionMs`. */
export interface Leak {
  /** How long it has been out. Milliseconds. */
  heldMs: number;
  /** Where it was taken, as the stack of an error. */
  stack: string;
}

/** Remembers where each connection was taken, and tells when one stays out for long. */
export class LeakWatch {
  readonly #afterMs: number;
  readonly #clock: Clock;
  readonly #listeners = new Set<(leak: Leak) => unknown>();
  readonly #out = new Map<PgConnection, { place: Error; timer: unknown }>();

  constructor(afterMs: number, clock: Clock) {
    this.#afterMs = afterMs;
    this.#clock = clock;
  }

  /** Whether anything is watched: a stack for each loan has its price. */
  get on(): boolean {
    return this.#afterMs <= longestTimerMs;
  }

  /** To be called while the borrower is on the stack. */
  place(): Error | undefined {
    return this.on ? new Error('The connection that is out for longest was taken here') : undefined;
  }

  taken(connection: PgConnection, place: Error): void {
    const timer = this.#clock.setTimeout(
      () => this.#tell({ heldMs: this.#afterMs, stack: place.stack ?? '' }),
      this.#afterMs,
    );
    (timer as { unref?: () => void } | undefined)?.unref?.();
    this.#out.set(connection, { place, timer });
  }

  returned(connection: PgConnection): void {
    const loan = this.#out.get(connection);
    if (loan === undefined) return;
    this.#out.delete(connection);
    this.#clock.clearTimeout(loan.timer);
  }

  /** Where the one was taken that has been out for longest. */
  longest(): Error | undefined {
    for (const { place } of this.#out.values()) return place;
    return undefined;
  }

  listen(fn: (leak: Leak) => void): () => void {
    // A function of its own, so that one that is given twice is two listeners.
    const listener = (leak: Leak): unknown => fn(leak);
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  stop(): void {
    for (const { timer } of this.#out.values()) this.#clock.clearTimeout(timer);
  }

  #tell(leak: Leak): void {
    for (const listener of this.#listeners) tell(() => listener(leak));
  }
}
