import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';

/**
 * The time-out of things that are done one after the other. A timer for each would cost more than the time-outs are worth,
 * of which hardly any comes: there is one, which stays when its deadline is lifted, and goes on to the next when it fires.
 */
export class DeadlineTimer {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  #deadline = Number.POSITIVE_INFINITY;
  #timer: unknown;
  #firesAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, onDue: () => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  /** `onDue` is called so many milliseconds from now, unless it is lifted. More than a timer can hold is never. */
  set(ms: number): void {
    this.#deadline = ms > longestTimerMs ? Number.POSITIVE_INFINITY : this.#clock.now() + ms;
    if (this.#deadline < this.#firesAt) this.#arm(ms);
  }

  lift(): void {
    this.#deadline = Number.POSITIVE_INFINITY;
  }

  /** No timer is left. */
  stop(): void {
    this.lift();
    this.#clock.clearTimeout(this.#timer);
    this.#firesAt = Number.POSITIVE_INFINITY;
  }

  #arm(ms: number): void {
    this.#clock.clearTimeout(this.#timer);
    this.#firesAt = this.#clock.now() + ms;
    this.#timer = this.#clock.setTimeout(() => this.#fire(), ms);
  }

  #fire(): void {
    this.#firesAt = Number.POSITIVE_INFINITY;
    const leftMs = this.#deadline - this.#clock.now();
    // Timers count whole milliseconds, and may fire by a part of one too early.
    if (leftMs < 1) {
      this.lift();
      this.#onDue();
    } else if (leftMs < Number.POSITIVE_INFINITY) this.#arm(leftMs);
  }
}
