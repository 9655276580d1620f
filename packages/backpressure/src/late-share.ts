/**
 * The share of late calls, exponentially smoothed over about the last twenty. One late call says little: some work takes that long. When one in four is late
 * there is too much in work at once, as where a limit has grown so far that all calls wait for each other.
 */
export class LateShare {
  #share = 0;

  /** Takes in a call; true if it was late and many are. */
  record(late: boolean): boolean {
    this.#share += ((late ? 1 : 0) - this.#share) / smoothedOver;
    return late && this.#share >= many;
  }
}

const smoothedOver = 20;
const many = 0.25;
