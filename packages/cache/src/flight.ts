import type { Fence } from './fences.ts';

/** One load that any number of callers wait for. It is aborted only when the last of them has gone. */
export class Flight<T> {
  readonly fence: Fence;
  /** Started for nobody in particular, to refresh what is stale: it has no callers who could leave. */
  readonly background: boolean;
  readonly promise: Promise<T>;
  readonly #controller = new AbortController();
  #settle: { resolve: (value: T | PromiseLike<T>) => void } = { resolve: () => {} };
  #leavers = 0;
  #pinned: boolean;

  constructor(fence: Fence, background: boolean) {
    this.fence = fence;
    this.background = background;
    this.#pinned = background;
    this.promise = new Promise((resolve) => {
      this.#settle = { resolve };
    });
    // A failed refresh in the background has nobody else to hear of it.
    this.promise.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  start(work: (flight: Flight<T>) => Promise<T>): void {
    this.#settle.resolve(work(this));
  }

  /** Waits for the load; a caller without a signal never leaves. */
  join(signal: AbortSignal | undefined): Promise<T> {
    if (signal === undefined) {
      this.#pinned = true;
      return this.promise;
    }
    this.#leavers++;
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        this.#leavers--;
        reject(signal.reason);
        if (this.#leavers === 0 && !this.#pinned) this.abort(signal.reason);
      };
      const stay = () => signal.removeEventListener('abort', leave);
      signal.addEventListener('abort', leave, { once: true });
      this.promise.then(stay, stay);
      this.promise.then(resolve, reject);
    });
  }

  abort(reason: unknown): void {
    // Later callers start a load of their own, and what this one may still return is not kept.
    this.fence.broken = true;
    this.#controller.abort(reason);
  }

  /** Tells the loader to stop; its failure is one like any other. */
  timeOut(error: unknown): void {
    this.#controller.abort(error);
  }
}
