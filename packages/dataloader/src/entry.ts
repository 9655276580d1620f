import type { Batch } from './batch.ts';

export const PENDING = 0;
export const VALUE = 1;
export const FAILED = 2;

/** What one key of a batch came to. Once settled it lets go of its promise: a value takes less room than a promise for it. */
export class Entry<K, V> {
  state: typeof PENDING | typeof VALUE | typeof FAILED = PENDING;
  /** The promise while pending, then the value or the error. */
  result: unknown;
  /** The batch that the key was asked for in, while that has not settled. */
  batch: Batch<K, V> | undefined;
  /** The hit that waits for the batch which is open now. */
  gate: Gate<K, V> | undefined = undefined;
  resolve: ((value: V) => void) | undefined = undefined;
  reject: ((error: unknown) => void) | undefined = undefined;

  constructor(state: Entry<K, V>['state'], result: unknown) {
    this.state = state;
    this.result = result;
    this.batch = undefined;
  }

  static pending<K, V>(batch: Batch<K, V>): Entry<K, V> {
    const entry = new Entry<K, V>(PENDING, undefined);
    entry.result = new Promise<V>((resolve, reject) => {
      entry.resolve = resolve;
      entry.reject = reject;
    });
    entry.batch = batch;
    return entry;
  }

  succeed(value: V): void {
    const { resolve } = this;
    this.#settle(VALUE, value);
    resolve?.(value);
  }

  fail(error: unknown): void {
    const { reject } = this;
    this.#settle(FAILED, error);
    reject?.(error);
  }

  #settle(state: typeof VALUE | typeof FAILED, result: unknown): void {
    this.state = state;
    this.result = result;
    this.batch = undefined;
    this.resolve = undefined;
    this.reject = undefined;
  }
}

/** A cache hit that is answered together with a batch: all hits on the same entry meanwhile share its promise. */
export class Gate<K, V> {
  readonly promise: Promise<V>;
  readonly batch: Batch<K, V>;
  readonly #source: Entry<K, V> | Promise<V>;
  #resolve: ((value: V | PromiseLike<V>) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  constructor(batch: Batch<K, V>, source: Entry<K, V> | Promise<V>) {
    this.promise = new Promise<V>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.batch = batch;
    this.#source = source;
  }

  open(): void {
    const source = this.#source;
    if (!(source instanceof Entry)) {
      this.#resolve?.(source);
      return;
    }
    if (source.gate === this) source.gate = undefined;
    if (source.state === FAILED) this.#reject?.(source.result);
    else this.#resolve?.(source.result as V | Promise<V>);
  }
}
