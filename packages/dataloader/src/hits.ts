import { type Entry, FAILED, VALUE } from './entry.ts';

/**
 * Cache hits that are answered together with a batch; those on one entry share a promise. The first has a promise of its
 * own, the others wait behind a gate: a promise's callbacks run in the order in which they were added, so a single function
 * that counts can give each hit its own result, and none needs functions of its own to be resolved with.
 */
export class Hits<K, V> {
  readonly #entries: Entry<K, V>[];
  readonly #promises: Promise<V>[];
  #count = 0;
  #answered = 0;
  #answerFirst: ((value: V) => void) | undefined = undefined;
  #gate: Promise<void> | undefined = undefined;
  #open: (() => void) | undefined = undefined;
  #answerNext: (() => V | PromiseLike<V>) | undefined = undefined;

  /** Room for `expected` hits is made at once: an array that grows to ten thousand is copied a dozen times. */
  constructor(expected: number) {
    this.#entries = new Array(expected);
    this.#promises = new Array(expected);
  }

  get count(): number {
    return this.#count;
  }

  /** The promise of a hit on `entry`. */
  promise(entry: Entry<K, V>): Promise<V> {
    const at = this.#count;
    const known = entry.hitAt;
    if (known < at && this.#entries[known] === entry) return this.#promises[known] as Promise<V>;
    const promise = at === 0 && entry.state === VALUE ? this.#first() : this.#behindGate();
    entry.hitAt = at;
    this.#entries[at] = entry;
    this.#promises[at] = promise;
    this.#count = at + 1;
    return promise;
  }

  answer(): void {
    this.#answerFirst?.(this.#next() as V);
    this.#open?.();
  }

  #first(): Promise<V> {
    return new Promise<V>((resolve) => {
      this.#answerFirst = resolve;
    });
  }

  // The gate is given to nobody, so that nobody can change what its `then` does.
  #behindGate(): Promise<V> {
    if (this.#gate === undefined) {
      this.#gate = new Promise<void>((resolve) => {
        this.#open = resolve;
      });
      this.#answerNext = () => this.#next();
    }
    return this.#gate.then(this.#answerNext as () => V | PromiseLike<V>);
  }

  #next(): V | PromiseLike<V> {
    const { state, result } = this.#entries[this.#answered++] as Entry<K, V>;
    if (state === FAILED) throw result;
    return result as V | Promise<V>;
  }
}
