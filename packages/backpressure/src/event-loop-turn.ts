import type { Clock } from './clock.ts';

/**
 * For how long the present turn of the event loop has lasted, as far as it was asked in it. What comes in while a turn lasts is
 * handled together in the next one, however much that is, and no timer or sample sees it before it is done.
 */
export class EventLoopTurn {
  readonly #clock: Clock;
  #beganAt: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds since it was first asked in this turn. */
  elapsedMs(): number {
    const now = this.#clock.now();
    if (this.#beganAt === undefined) {
      this.#beganAt = now;
      // Runs when all that has come in was handled.
      setImmediate(this.#onEnd);
    }
    return now - this.#beganAt;
  }

  readonly #onEnd = (): void => {
    this.#beganAt = undefined;
  };
}
