import { type Entry, FAILED, VALUE } from './entry.ts';

/**
 * Cache hits that are answered together with a batch; from the second on those on one entry share a promise. The first of all
 * has a promise of its own, the others wait behind a gate: a promise's callbacks run in the order in which they were added, so a
 * single function that counts can give each hit its own result, and none needs functions of its own to be resolved with.
 */
export class Hits<K, V> {
  readonly #entries: Entry<K, V>[];
  readonly #expected: number;
  /** The promises that hits share, each where its entry was hit first. */
  #shared: Promise<V>[] | undefined = undefined;
  #count = 0;
  #answered = 0;
  #answerFirst: ((value: V) => void) | undefined = undefined;
  #gate: Promise<void> | undefined = undefined;
  #open: (() => void) | undefined = undefined;
  #answerNext: (() => V | PromiseLike<V>) | undefined = undefined;

  /** Room for `expected` hits is made at once: an array that grows to ten thousand is copied a dozen times. */
  constructor(expected: number) {
    this.#expected = expected;
    this.#entries = new Array(expected);
  }

  get count(): number {
    return this.#count;
  }

  /** The promise of a hit on `entry`. */
  promise(entry: Entry<K, V>): Promise<V> {
    const known = entry.hitAt;
    if (known >= this.#count || this.#entries[known] !== entry) {
      entry.hitAt = this.#count;
      return this.#add(entry);
    }
    this.#shared ??= new Array(this.#expected);
    this.#shared[known] ??= this.#add(entry);
    return this.#shared[known] as Promise<V>;
  }

  #add(entry: Entry<K, V>): Promise<V> {
    const at = this.#count;
    this.#entries[at] = entry;
    this.#count = at + 1;
    return at === 0 && entry.state === VALUE ? this.#first() : this.#behindGate();
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
