const NONE = -1;

/** The links of all slots; each slot is in at most one of the queues that share them. */
export class SlotLinks {
  /** Towards the front. */
  before: Int32Array = new Int32Array(0);
  /** Towards the back. */
  behind: Int32Array = new Int32Array(0);

  grow(slots: number): void {
    this.before = grown(this.before, slots);
    this.behind = grown(this.behind, slots);
  }
}

/** A doubly linked queue of slots in typed arrays: no allocation for each entry, and removal from the middle costs the same. */
export class SlotQueue {
  size = 0;
  #front = NONE;
  #back = NONE;
  readonly #links: SlotLinks;

  constructor(links: SlotLinks) {
    this.#links = links;
  }

  pushFront(slot: number): void {
    const { before, behind } = this.#links;
    before[slot] = NONE;
    behind[slot] = this.#front;
    if (this.#front === NONE) this.#back = slot;
    else before[this.#front] = slot;
    this.#front = slot;
    this.size++;
  }

  remove(slot: number): void {
    const { before, behind } = this.#links;
    const ahead = before[slot] as number;
    const after = behind[slot] as number;
    if (ahead === NONE) this.#front = after;
    else behind[ahead] = after;
    if (after === NONE) this.#back = ahead;
    else before[after] = ahead;
    this.size--;
  }

  /** The slot at the back, or undefined. */
  get back(): number | undefined {
    return this.#back === NONE ? undefined : this.#back;
  }

  popBack(): number {
    const slot = this.#back;
    if (slot !== NONE) this.remove(slot);
    return slot;
  }

  moveToFront(slot: number): void {
    if (slot === this.#front) return;
    this.remove(slot);
    this.pushFront(slot);
  }

  clear(): void {
    this.#front = NONE;
    this.#back = NONE;
    this.size = 0;
  }
}

/** A copy with room for `length` items. */
export function grown<A extends Int32Array | Uint32Array | Uint8Array | Float32Array | Float64Array>(
  array: A,
  length: number,
): A {
  const larger = new (array.constructor as new (length: number) => A)(length);
  larger.set(array);
  return larger;
}
