import { type Entry, FAILED, VALUE } from './entry.ts';

/**
 * Cache hits that are answered together with a batch. All hits on one entry share a promise. The first one is the gate
 * behind which the others wait: a promise's callbacks run in the order in which they were added, so a single function
 * that counts can give each hit its own result, and none needs functions of its own to be resolved with.
 */
export class Hits<K, V> {
  readonly #first: Entry<K, V> | undefined;
  readonly #gate: Promise<V>;
  #open!: (value: V) => void;
  readonly #entries: Entry<K, V>[] = [];
  readonly #promises: Promise<V>[] = [];
  #answered = 0;
  #answerNext: (() => V | PromiseLike<V>) | undefined = undefined;

  constructor(first: Entry<K, V>) {
    // A gate must open at once and without fail: what is no plain value waits behind an empty one.
    this.#first = isPlainValue(first) ? first : undefined;
    this.#gate = new Promise<V>((resolve) => {
      this.#open = resolve;
    });
  }

  /** The promise of a hit on `entry` in the batch with the id `batch`. */
  promise(entry: Entry<K, V>, batch: number): Promise<V> {
    if (entry.hitBatch === batch) return entry.hitAt < 0 ? this.#gate : (this.#promises[entry.hitAt] as Promise<V>);
    entry.hitBatch = batch;
    if (entry === this.#first) {
      entry.hitAt = -1;
      return this.#gate;
    }
    entry.hitAt = this.#entries.length;
    this.#entries.push(entry);
    this.#answerNext ??= () => {
      const { state, result } = this.#entries[this.#answered++] as Entry<K, V>;
      if (state === FAILED) throw result;
      return result as V | Promise<V>;
    };
    const promise = this.#gate.then(this.#answerNext);
    this.#promises.push(promise);
    return promise;
  }

  answer(): void {
    this.#open(this.#first?.result as V);
  }
}

function isPlainValue<K, V>({ state, result }: Entry<K, V>): boolean {
  return state === VALUE && typeof (result as { then?: unknown } | null | undefined)?.then !== 'function';
}
