/** Calls without an answer yet that were begun in the present slice of time or the one before: too young to say that they hang. */
export class UnansweredCalls {
  #slice = 0;
  #inSlice = 0;
  #inSliceBefore = 0;

  get count(): number {
    return this.#inSlice + this.#inSliceBefore;
  }

  /** To be called before the count is read or changed. */
  moveTo(slice: number): void {
    if (slice === this.#slice) return;
    this.#inSliceBefore = slice === this.#slice + 1 ? this.#inSlice : 0;
    this.#inSlice = 0;
    this.#slice = slice;
  }

  begun(): void {
    this.#inSlice++;
  }

  /** One that was begun in `slice` has its answer, or nobody wants it any more. */
  ended(slice: number): void {
    if (slice === this.#slice) this.#inSlice--;
    else if (slice === this.#slice - 1) this.#inSliceBefore--;
  }
}
