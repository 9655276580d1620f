/** All that piscina asks of a signal. An AbortController for each task would cost a third of a round trip. */
export class StopSignal {
  aborted = false;
  #listener: (() => void) | undefined;

  addEventListener(_name: 'abort', listener: () => void): void {
    this.#listener = listener;
  }

  removeEventListener(): void {
    this.#listener = undefined;
  }

  abort(): void {
    this.aborted = true;
    this.#listener?.();
  }
}
