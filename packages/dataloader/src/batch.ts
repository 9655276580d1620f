import type { BatchEvent } from './batch-events.ts';
import { type Entry, fail, KEPT, knownEntry, PENDING, pendingEntry } from './entry.ts';
import { Hits } from './hits.ts';

/** Who cached an entry, and must forget it when its batch fails. */
export interface EntryOwner<K, V> {
  forget(key: K, entry: Entry<K, V>): void;
}

/** Keys that are asked for together, and who waits for them. */
export class Batch<K, V> {
  /**
   * One of each that a load makes. V8 forgets the shape of objects of which a full collection finds none, and throws away
   * the compiled code that knew it: after a pause the next loads would take several times as long.
   */
  static readonly kept: readonly object[] = [
    new Batch<unknown, unknown>(undefined, 0, () => {}),
    new Hits<unknown, unknown>(0),
    knownEntry<unknown, unknown>(PENDING, undefined, undefined),
  ];
  keys: K[] = [];
  entries: Entry<K, V>[] = [];
  readonly partition: unknown;
  /** What its keys weigh together, where the loader has a budget for that. */
  weight = 0;
  /** Its schedule has fired: no key joins any more. */
  dispatched = false;
  /** Its schedule fired before there was a key in it. */
  due = false;
  running = false;
  settled = false;
  /** A load inside another batch waits for this one, so this one must not wait for that one's place. */
  urgent = false;
  /** What dispatches it, then what aborts it when it takes too long. */
  timer: unknown = undefined;
  /** When it was opened and started, if somebody wants to know; when the last key joined, for a sliding window. */
  openedAt: number | undefined = undefined;
  startedAt: number | undefined = undefined;
  joinedAt = 0;
  /** What those who watch are told of it. */
  event: BatchEvent | undefined = undefined;
  /** Somebody who cannot leave waits for it. */
  pinned = false;
  #waiters = 0;
  #hits: Hits<K, V> | undefined = undefined;
  #followers: { at: number; owner: EntryOwner<K, V> }[] | undefined = undefined;
  /** Who asked for the first key, and mostly for all of them. */
  #owner: EntryOwner<K, V> | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #positions: Map<unknown, number> | undefined = undefined;
  readonly #expectedHits: number;
  readonly #abandoned: (batch: Batch<K, V>, reason: unknown) => void;

  /** `expectedHits`: how many the batch before had. */
  constructor(partition: unknown, expectedHits: number, abandoned: (batch: Batch<K, V>, reason: unknown) => void) {
    this.partition = partition;
    this.#expectedHits = expectedHits;
    this.#abandoned = abandoned;
  }

  /** `keepsPromise`: hits on the entry are answered with its promise itself. */
  add(key: K, owner: EntryOwner<K, V>, keepsPromise: boolean): Entry<K, V> {
    const entry = pendingEntry<K, V>(this, this.partition, keepsPromise ? KEPT : PENDING);
    if (this.#owner === undefined) {
      this.#owner = owner;
      // Room for one: the first `push` into an empty array would make room for seventeen.
      this.keys = [key];
      this.entries = [entry];
      return entry;
    }
    this.keys.push(key);
    this.entries.push(entry);
    if (this.#owner !== owner) this.follow(this.keys.length - 1, owner);
    return entry;
  }

  /** Where a key of this batch is that is cached under `cacheKey`; only keys that `locate` was told of are known. */
  positionOf(cacheKey: unknown): number | undefined {
    return this.#positions?.get(cacheKey);
  }

  /** The key at `at` is cached under `cacheKey`. */
  locate(cacheKey: unknown, at: number): void {
    this.#positions ??= new Map();
    this.#positions.set(cacheKey, at);
  }

  /** One more owner of the entry at `at`. */
  follow(at: number, owner: EntryOwner<K, V>): void {
    this.#followers ??= [];
    this.#followers.push({ at, owner });
  }

  /** A promise for a result that is known already, or is another batch's, answered with this batch. */
  hit(source: Entry<K, V>): Promise<V> {
    this.#hits ??= new Hits<K, V>(this.#expectedHits);
    return this.#hits.promise(source);
  }

  get hitCount(): number {
    return this.#hits === undefined ? 0 : this.#hits.count;
  }

  answerHits(): void {
    const hits = this.#hits;
    if (hits === undefined) return;
    this.#hits = undefined;
    hits.answer();
  }

  /** The signal of the batch function, made when it is first asked for. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller ??= new AbortController();
    this.#controller.abort(reason);
  }

  /** One more waits who may leave. */
  join(): void {
    this.#waiters += 1;
  }

  leave(reason: unknown): void {
    this.#waiters -= 1;
    if (this.#waiters === 0 && !this.pinned && !this.settled) this.#abandoned(this, reason);
  }

  /** Ends the batch with an error for each of its keys, none of which stays cached. */
  fail(error: unknown): void {
    this.answerHits();
    for (let i = 0; i < this.entries.length; i += 1) {
      this.forget(i);
      fail(this.entries[i] as Entry<K, V>, error);
    }
  }

  forget(at: number): void {
    const entry = this.entries[at];
    const key = this.keys[at] as K;
    if (entry === undefined) return;
    forgetIn(this.#owner, key, entry);
    for (const follower of this.#followers ?? []) if (follower.at === at) forgetIn(follower.owner, key, entry);
  }
}

function forgetIn<K, V>(owner: EntryOwner<K, V> | undefined, key: K, entry: Entry<K, V>): void {
  try {
    owner?.forget(key, entry);
  } catch {
    // A cache that cannot forget must not keep the callers waiting: they are told what became of the batch.
  }
}
