import type { CacheEntry, HeldEntry } from './entry.ts';
import type { Fence } from './fences.ts';
import { whenAborted } from './when-aborted.ts';

export interface FlightOptions {
  /** Started for nobody in particular, to refresh what is there: it has no callers who could leave. */
  background: boolean;
  /** What remains fresh for longer than this needs no load. Milliseconds; 0 for whatever is fresh. */
  enoughMs: number;
  /** Monotonic milliseconds. */
  startedAt: number;
}

/** One load that any number of callers wait for. It is aborted only when the last of them has gone. */
export class Flight {
  readonly fence: Fence;
  readonly background: boolean;
  readonly enoughMs: number;
  readonly startedAt: number;
  /** What the remote tier had when it was asked last. */
  found: HeldEntry | undefined;
  readonly promise: Promise<CacheEntry>;
  /** Made for who asks for the signal: a hit in the remote tier does not, and it costs more than the rest of the flight. */
  #controller: AbortController | undefined;
  #aborted: { reason: unknown } | undefined;
  #resolve: (value: CacheEntry) => void = nothing;
  #reject: (reason: unknown) => void = nothing;
  #stopWork: (reason: unknown) => void = nothing;
  #leavers = 0;
  #pinned: boolean;

  constructor(fence: Fence, options: FlightOptions) {
    this.fence = fence;
    this.background = options.background;
    this.enoughMs = options.enoughMs;
    this.startedAt = options.startedAt;
    this.#pinned = options.background;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A failed refresh in the background has nobody else to hear of it; other loads are joined at once.
    if (options.background) this.promise.catch(nothing);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  /** Ends as `work` does, unless it is abandoned first. */
  follow(work: Promise<CacheEntry>): void {
    work.then(this.#resolve, this.#reject);
  }

  /** The loader's answer, or the reason for which it is not waited for any longer. */
  untilAbandoned(run: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#stopWork = reject;
      Promise.resolve(run()).then(resolve, reject);
    });
  }

  /** Waits for the load; a caller without a signal never leaves. */
  join(signal: AbortSignal | undefined): Promise<CacheEntry> {
    if (signal === undefined) {
      this.#pinned = true;
      return this.promise;
    }
    this.#leavers++;
    return new Promise<CacheEntry>((resolve, reject) => {
      const leave = () => {
        this.#leavers--;
        reject(signal.reason);
        if (this.#leavers === 0 && !this.#pinned) this.abort(signal.reason);
      };
      this.promise.then(resolve, reject);
      // By the loader itself, perhaps.
      if (signal.aborted) {
        leave();
        return;
      }
      const stay = whenAborted(signal, leave);
      this.promise.then(stay, stay);
    });
  }

  /** It is to end, whether or not callers leave. */
  pin(): void {
    this.#pinned = true;
  }

  abort(reason: unknown): void {
    // Later callers start a load of their own, and what this one may still return is not kept.
    this.fence.broken = true;
    this.#abortSignal(reason);
  }

  /** Aborts it, and waits for the loader no longer: neither do its callers. */
  abandon(reason: unknown): void {
    this.abort(reason);
    this.#stopWork(reason);
    this.#reject(reason);
  }

  /** Tells the loader to stop; its failure is one like any other. */
  timeOut(error: unknown): void {
    this.#stopWork(error);
    this.#abortSignal(error);
  }

  #abortSignal(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#controller?.abort(reason);
  }
}

function nothing(): void {}
