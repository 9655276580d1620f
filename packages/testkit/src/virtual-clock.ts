/**
 * A clock for simulations: `runUntil` jumps from event to event, over a heap for many timers. It has the shape of the `clock`
 * option of every package. Beside `ManualClock` it is fast, and shares no turn of the real event loop with anything.
 */
export class VirtualClock {
  #now = 0;
  #order = 0;
  /** A binary heap: each timer is due before its two children. */
  readonly #heap: Timer[] = [];

  readonly now = (): number => this.#now;

  readonly setTimeout = (fn: () => void, ms: number): unknown => {
    const timer: Timer = { due: this.#now + Math.max(0, ms), order: this.#order++, fn };
    this.#rise(timer);
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => {
    if (timer !== undefined) (timer as Timer).fn = undefined;
  };

  /** Fires what is due until `end`, and lets promise callbacks run after each. */
  async runUntil(end: number): Promise<void> {
    for (let next = this.#heap[0]; next !== undefined && next.due <= end; next = this.#heap[0]) {
      this.#removeFirst();
      if (next.fn === undefined) continue;
      this.#now = next.due;
      next.fn();
      for (let turn = 0; turn < 8; turn++) await undefined;
    }
    this.#now = end;
  }

  #rise(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || !isBefore(timer, parent)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = timer;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const child = right !== undefined && left !== undefined && isBefore(right, left) ? 2 * at + 2 : 2 * at + 1;
      const sooner = heap[child];
      if (sooner === undefined || !isBefore(sooner, last)) break;
      heap[at] = sooner;
      at = child;
    }
    heap[at] = last;
  }
}

interface Timer {
  due: number;
  /** Equal times fire in the order in which they were set. */
  order: number;
  fn: (() => void) | undefined;
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}
