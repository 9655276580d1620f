/** What the queue reads and keeps in each of its items: it is a linked list, so that one can leave from anywhere at no cost. */
export interface Queued<Item> {
  /** How large it is, as far as batches are bounded by that. */
  readonly bytes: number;
  /** Counts up from 1 in the order of arrival; 0 before. */
  place: number;
  /** Whether it is in the queue. */
  waits: boolean;
  previous: Item | undefined;
  next: Item | undefined;
}

/**
 * Items in order, cut into batches of at most `maxBatchSize` items and `maxBatchBytes` bytes; an item that is larger by itself
 * makes a batch of its own. Each item is looked at once as it joins the next batch, however many leave meanwhile.
 */
export class ItemQueue<Item extends Queued<Item>> {
  #first: Item | undefined;
  #last: Item | undefined;
  #length = 0;
  /** The place of the item that came last. */
  #lastPlace = 0;
  /** Up to this place items have waited long enough; those behind them go along. */
  #flushedPlace = 0;
  /** The first items, as far as they have been found to make up the next batch. */
  #nextLast: Item | undefined;
  #nextSize = 0;
  #nextBytes = 0;
  readonly #maxBatchSize: number;
  readonly #maxBatchBytes: number;

  constructor(maxBatchSize: number, maxBatchBytes: number) {
    this.#maxBatchSize = maxBatchSize;
    this.#maxBatchBytes = maxBatchBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** The place of the item that came last; 0 if none has come yet. */
  get lastPlace(): number {
    return this.#lastPlace;
  }

  /** The place of the item that waits the longest. */
  get firstPlace(): number | undefined {
    return this.#first?.place;
  }

  /** Whether something waits that has not been flushed, so that a window is open. */
  get hasUnflushed(): boolean {
    return this.#last !== undefined && this.#last.place > this.#flushedPlace;
  }

  push(item: Item): void {
    this.#lastPlace += 1;
    item.place = this.#lastPlace;
    item.waits = true;
    item.previous = this.#last;
    if (this.#last === undefined) this.#first = item;
    else this.#last.next = item;
    this.#last = item;
    this.#length += 1;
  }

  /** What waits now is due. */
  flush(): void {
    this.#flushedPlace = this.#lastPlace;
  }

  /** The next batch, if it is to be written now: a full one, or what has been flushed. */
  takeDue(): Item[] | undefined {
    if (this.#first === undefined) return undefined;
    this.#measureNext();
    if (!this.#nextIsFull() && this.#first.place > this.#flushedPlace) return undefined;
    const batch: Item[] = [];
    for (let size = this.#nextSize; size > 0; size -= 1) {
      const item = this.#first as Item;
      this.remove(item);
      batch.push(item);
    }
    return batch;
  }

  /** Takes one out; `false` if it is not in here. */
  remove(item: Item): boolean {
    if (!item.waits) return false;
    this.#removeFromNext(item);
    const { previous, next } = item;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    item.previous = undefined;
    item.next = undefined;
    item.waits = false;
    this.#length -= 1;
    return true;
  }

  #measureNext(): void {
    while (this.#nextSize < this.#maxBatchSize && this.#nextBytes < this.#maxBatchBytes) {
      const item = this.#nextLast === undefined ? this.#first : this.#nextLast.next;
      if (item === undefined) return;
      const bytes = this.#nextBytes + item.bytes;
      if (this.#nextSize > 0 && bytes > this.#maxBatchBytes) return;
      this.#nextLast = item;
      this.#nextSize += 1;
      this.#nextBytes = bytes;
    }
  }

  // Once it has been measured: what is behind it did not fit.
  #nextIsFull(): boolean {
    return (
      this.#nextSize === this.#maxBatchSize ||
      this.#nextBytes >= this.#maxBatchBytes ||
      this.#nextLast?.next !== undefined
    );
  }

  #removeFromNext(item: Item): void {
    if (this.#nextLast === undefined || item.place > this.#nextLast.place) return;
    if (item === this.#nextLast) this.#nextLast = item.previous;
    this.#nextSize -= 1;
    // Sums of fractions are not exact: what is left of none is 0.
    this.#nextBytes = this.#nextSize === 0 ? 0 : this.#nextBytes - item.bytes;
  }
}
