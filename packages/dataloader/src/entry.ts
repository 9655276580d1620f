import type { Batch } from './batch.ts';

export const PENDING = 0;
export const VALUE = 1;
export const FAILED = 2;
/** Settled or not, `result` is the promise. */
export const KEPT = 3;

/**
 * What one key of a batch came to. Once settled it lets go of its promise, since a value takes less room than a promise
 * for it; where hits are answered with the cached promise itself it keeps that.
 */
export class Entry<K, V> {
  state: typeof PENDING | typeof VALUE | typeof FAILED | typeof KEPT;
  /** The promise while pending, then the value or the error. */
  result: unknown;
  /** The batch that the key was asked for in, while that has not settled. */
  batch: Batch<K, V> | undefined;
  partition: unknown;
  /** The open batch in which a hit on this entry waits, and where among its hits. Numbers: writing them into an old object is free. */
  hitBatch = 0;
  hitAt = 0;
  #resolve: ((value: V) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  constructor(state: Entry<K, V>['state'], result: unknown, partition: unknown, batch?: Batch<K, V>) {
    this.state = state;
    this.result = result;
    this.batch = batch;
    this.partition = partition;
    if (batch === undefined) {
      this.#resolve = undefined;
      this.#reject = undefined;
    } else {
      this.result = new Promise<V>(hold);
      this.#resolve = heldResolve;
      this.#reject = heldReject;
    }
  }

  succeed(value: V): void {
    const resolve = this.#resolve;
    this.#settle(VALUE, value);
    resolve?.(value);
  }

  fail(error: unknown): void {
    const reject = this.#reject;
    this.#settle(FAILED, error);
    reject?.(error);
  }

  #settle(state: typeof VALUE | typeof FAILED, result: unknown): void {
    if (this.state !== KEPT) {
      this.state = state;
      this.result = result;
    }
    this.batch = undefined;
    this.#resolve = undefined;
    this.#reject = undefined;
  }
}

/** A cache hit that is answered together with a batch: all hits on the same entry meanwhile share its promise. */
export class Hit<K, V> {
  readonly promise: Promise<V>;
  readonly #source: Entry<K, V>;
  readonly #resolve: (value: V | PromiseLike<V>) => void;
  readonly #reject: (error: unknown) => void;

  constructor(source: Entry<K, V>) {
    this.#source = source;
    this.promise = new Promise<V>(hold);
    this.#resolve = heldResolve;
    this.#reject = heldReject;
  }

  answer(): void {
    const { state, result } = this.#source;
    if (state === FAILED) this.#reject(result);
    else this.#resolve(result as V | Promise<V>);
  }
}

// One executor for all promises: a closure and its scope for each would be a third of what a load costs.
let heldResolve: (value: unknown) => void;
let heldReject: (error: unknown) => void;

function hold(resolve: (value: never) => void, reject: (error: unknown) => void): void {
  heldResolve = resolve as (value: unknown) => void;
  heldReject = reject;
}
