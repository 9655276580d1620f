import { whenAborted } from './when-aborted.ts';

/** Producers who wait for room in a queue, and are told in order of asking, as many as there is room for. */
export class Room {
  readonly #free: () => number;
  readonly #waiters = new Set<() => void>();
  /** Those who have been told submit in promise callbacks of this turn: until then their room is not given to others. */
  #promised = 0;

  /** @param free how many more items the queue takes now. */
  constructor(free: () => number) {
    this.#free = free;
  }

  /** Resolves when there is room. Rejects with `signal.reason`, or, after `refuseAll`, with what `refusal` makes. */
  wait(signal: AbortSignal | undefined, refusal: () => Error | undefined): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const tell = () => {
        this.#waiters.delete(tell);
        stopListening?.();
        const error = signal?.aborted ? signal.reason : refusal();
        if (signal?.aborted || error !== undefined) reject(error);
        else resolve();
      };
      this.#waiters.add(tell);
      const stopListening = signal && whenAborted(signal, tell);
      this.tell();
    });
  }

  /** To be called when an item has come. */
  taken(): void {
    if (this.#promised > 0) this.#promised -= 1;
  }

  /** To be called when there may be room. */
  tell(): void {
    for (const tell of this.#waiters) {
      if (this.#free() <= this.#promised) return;
      if (this.#promised === 0) {
        setImmediate(() => {
          this.#promised = 0;
          this.tell();
        });
      }
      this.#promised += 1;
      tell();
    }
  }

  /** There will be no room any more. */
  refuseAll(): void {
    for (const tell of this.#waiters) tell();
  }
}
