import type { Dispatcher } from 'undici';

/**
 * What the handler of a request that waits, for its turn or for its connection, is given to abort it with. undici gives
 * a handler its own only when the request goes out, so that an abort would be seen only then.
 */
export class EarlyController implements Dispatcher.DispatchController {
  readonly paused = false;
  #aborted: { reason: Error } | undefined;
  #stop: (reason: Error) => void;
  /** The handler has been told that it is over, and is told no more. */
  told = false;

  constructor(stop: (reason: Error) => void) {
    this.#stop = stop;
  }

  get aborted(): boolean {
    return this.#aborted !== undefined;
  }
  get reason(): Error | null {
    return this.#aborted?.reason ?? null;
  }

  /** How it is stopped from now on; at once, if it was aborted before. */
  stopsBy(stop: (reason: Error) => void): void {
    this.#stop = stop;
    if (this.#aborted !== undefined) stop(this.#aborted.reason);
  }

  abort(reason: Error): void {
    if (this.#aborted !== undefined) return;
    this.#aborted = { reason };
    this.#stop(reason);
  }

  pause(): void {}
  resume(): void {}
}
