/** A clock for long simulations: jumps from event to event, with a heap for many timers and no turn of the real loop in between. */
export class VirtualClock {
  #now = 0;
  readonly #heap: { due: number; order: number; fn: (() => void) | undefined }[] = [];
  #order = 0;

  readonly now = (): number => this.#now;

  readonly setTimeout = (fn: () => void, ms: number): unknown => {
    const timer = { due: this.#now + Math.max(0, ms), order: this.#order++, fn: fn as (() => void) | undefined };
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    for (let up = (at - 1) >> 1; at > 0 && before(timer, heap[up]!); at = up, up = (at - 1) >> 1) heap[at] = heap[up]!;
    heap[at] = timer;
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => {
    if (timer !== undefined) (timer as { fn: undefined }).fn = undefined;
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

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function before(a: { due: number; order: number }, b: { due: number; order: number }): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}
