/** What the queue needs to know of an item. */
export interface Sized {
  readonly bytes: number;
}

/** Items in order, cut into batches of at most `maxBatchSize` items and `maxBatchBytes` bytes. */
export class ItemQueue<Item extends Sized> {
  #items: Item[] = [];
  /** How many at the head have waited long enough; those behind them go along. */
  #flushed = 0;
  /** How many at the head make the next batch, as far as they have been looked at, and whether no more fit. */
  #nextSize = 0;
  #nextBytes = 0;
  #nextIsFull = false;
  readonly #maxBatchSize: number;
  readonly #maxBatchBytes: number;

  constructor(maxBatchSize: number, maxBatchBytes: number) {
    this.#maxBatchSize = maxBatchSize;
    this.#maxBatchBytes = maxBatchBytes;
  }

  get length(): number {
    return this.#items.length;
  }

  /** Whether something waits that has not been flushed, so that a window is open. */
  get hasUnflushed(): boolean {
    return this.#flushed < this.#items.length;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** What waits now is due. */
  flush(): void {
    this.#flushed = this.#items.length;
  }

  /** The next batch, if it is to be written now: a full one, or what has been flushed. */
  takeDue(): Item[] | undefined {
    this.#measure();
    if (!this.#nextIsFull && !(this.#nextSize > 0 && this.#flushed > 0)) return undefined;
    const size = this.#nextSize;
    this.#flushed = Math.max(0, this.#flushed - size);
    this.#measureAnew();
    return this.#items.splice(0, size);
  }

  /** Takes one out; `false` if it is not in here. */
  remove(item: Item): boolean {
    const at = this.#items.indexOf(item);
    if (at < 0) return false;
    this.#items.splice(at, 1);
    if (at < this.#flushed) this.#flushed -= 1;
    if (at <= this.#nextSize) this.#measureAnew();
    return true;
  }

  #measure(): void {
    while (!this.#nextIsFull && this.#nextSize < this.#items.length) {
      const bytes = this.#nextBytes + (this.#items[this.#nextSize]?.bytes ?? 0);
      if (this.#nextSize > 0 && bytes > this.#maxBatchBytes) {
        this.#nextIsFull = true;
      } else {
        this.#nextSize += 1;
        this.#nextBytes = bytes;
        this.#nextIsFull = this.#nextSize === this.#maxBatchSize || bytes >= this.#maxBatchBytes;
      }
    }
  }

  #measureAnew(): void {
    this.#nextSize = 0;
    this.#nextBytes = 0;
    this.#nextIsFull = false;
  }
}
