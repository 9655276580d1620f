/**
 * A clock that stands still until a test moves it. It has the shape of the `clock` option of every package:
 * `now`, `wallNow`, `setTimeout`, `clearTimeout`.
 *
 * Timers fire in order of their due time (equal times: order of creation), and promise callbacks run between any two
 * of them, as they do on a real clock.
 */
export class ManualClock {
  #now: number;
  #wallNow: number;
  #sequence = 0;
  readonly #timers = new Map<number, { due: number; fn: () => void }>();

  /** @param start `now` is the first monotonic time (default 1,000), `wallNow` the first wall-clock time (default 2026-01-01T00:00:00Z). Milliseconds. */
  constructor(start: { now?: number; wallNow?: number } = {}) {
    this.#now = start.now ?? 1_000;
    this.#wallNow = start.wallNow ?? Date.UTC(2026, 0, 1);
  }

  /** Monotonic milliseconds. */
  readonly now = (): number => this.#now;

  /** Milliseconds since 1970. */
  readonly wallNow = (): number => this.#wallNow;

  /** Schedules `fn`; the handle has `unref` and `ref`, which do nothing, as Node's timers have. */
  readonly setTimeout = (fn: () => void, ms: number): { id: number; unref(): void; ref(): void } => {
    const id = ++this.#sequence;
    this.#timers.set(id, { due: this.#now + Math.max(0, ms), fn });
    return { id, unref() {}, ref() {} };
  };

  readonly clearTimeout = (timer: unknown): void => {
    this.#timers.delete((timer as { id?: number } | undefined)?.id ?? 0);
  };

  /** How many timers wait. A test of "no timer in an idle thing" asks for 0. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Lets time pass, fires what falls due on the way, and lets promise callbacks run before, between and after. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#nextDue(end); next !== undefined; next = this.#nextDue(end)) {
      const [id, timer] = next;
      this.#moveTo(Math.max(this.#now, timer.due));
      this.#timers.delete(id);
      timer.fn();
      await settle();
    }
    this.#moveTo(Math.max(this.#now, end));
  }

  /** Moves time without firing timers or running promise callbacks: a process that was stopped and continued. */
  jump(ms: number): void {
    this.#moveTo(this.#now + ms);
  }

  /** Steps the wall clock alone, as NTP or a person does; monotonic time does not move. */
  stepWall(ms: number): void {
    this.#wallNow += ms;
  }

  #moveTo(time: number): void {
    this.#wallNow += time - this.#now;
    this.#now = time;
  }

  #nextDue(end: number): [number, { due: number; fn: () => void }] | undefined {
    let first: [number, { due: number; fn: () => void }] | undefined;
    for (const entry of this.#timers) {
      if (entry[1].due <= end && (first === undefined || entry[1].due < first[1].due)) first = entry;
    }
    return first;
  }
}

/** A turn of the event loop drains every promise callback that is ready, however deeply they are chained. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
