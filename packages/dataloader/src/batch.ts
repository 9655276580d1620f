import { Entry, Gate } from './entry.ts';

/** Who cached an entry, and must forget it when its batch fails. */
export interface EntryOwner<K, V> {
  forget(key: K, entry: Entry<K, V>, promise: unknown): void;
}

/** Keys that are asked for together, and who waits for them. */
export class Batch<K, V> {
  readonly keys: K[] = [];
  readonly entries: Entry<K, V>[] = [];
  readonly partition: unknown;
  /** Its schedule has fired: no key joins any more. */
  dispatched = false;
  /** Its schedule fired before there was a key in it. */
  due = false;
  running = false;
  settled = false;
  /** A load inside another batch waits for this one, so this one must not wait for that one's place. */
  urgent = false;
  /** What aborts it when it takes too long. */
  timer: unknown;
  /** When the last key joined; read only by a sliding window. */
  joinedAt = 0;
  /** Somebody who may leave waits, or has waited, for it. */
  leavable = false;
  /** Somebody who cannot leave waits for it. */
  pinned = false;
  #waiters = 0;
  #gates: Gate<K, V>[] | undefined;
  #followers: { at: number; owner: EntryOwner<K, V> }[] | undefined;
  /** Who asked for the first key, and mostly for all of them. */
  #owner: EntryOwner<K, V> | undefined;
  #controller: AbortController | undefined;
  #positions: Map<unknown, number> | undefined;
  /** Positions by promise, of as many entries as there are in it; made when somebody looks. */
  #byPromise: Map<unknown, number> | undefined;
  readonly #abandoned: (batch: Batch<K, V>, reason: unknown) => void;

  constructor(partition: unknown, abandoned: (batch: Batch<K, V>, reason: unknown) => void) {
    this.partition = partition;
    this.#abandoned = abandoned;
  }

  add(key: K, owner: EntryOwner<K, V>): Entry<K, V> {
    const entry = Entry.pending<K, V>(this);
    this.keys.push(key);
    this.entries.push(entry);
    this.#owner ??= owner;
    if (this.#owner !== owner) this.follow(this.keys.length - 1, owner);
    return entry;
  }

  /** Where a key of this batch is that is cached under `cacheKey`; only keys told to `locate` are known. */
  positionOf(cacheKey: unknown): number | undefined {
    return this.#positions?.get(cacheKey);
  }

  /** Remembers the key that was added last. */
  locate(cacheKey: unknown): void {
    this.#positions ??= new Map();
    this.#positions.set(cacheKey, this.keys.length - 1);
  }

  /** The entry that settles `promise`, if it is one of this batch. */
  entryOf(promise: unknown): Entry<K, V> | undefined {
    this.#byPromise ??= new Map();
    const known = this.#byPromise;
    for (let i = known.size; i < this.entries.length; i += 1) known.set(this.entries[i]?.result, i);
    const at = known.get(promise);
    return at === undefined ? undefined : this.entries[at];
  }

  /** One more owner of the entry at `at`. */
  follow(at: number, owner: EntryOwner<K, V>): void {
    this.#followers ??= [];
    this.#followers.push({ at, owner });
  }

  /** A promise for a result that is known already, or is another batch's, answered with this batch. */
  gate(source: Entry<K, V> | Promise<V>): Promise<V> {
    const gate = new Gate<K, V>(this, source);
    if (source instanceof Entry) source.gate = gate;
    this.#gates ??= [];
    this.#gates.push(gate);
    return gate.promise;
  }

  openGates(): void {
    const gates = this.#gates;
    this.#gates = undefined;
    if (gates !== undefined) for (const gate of gates) gate.open();
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

  /** One more waits who may leave. Tells whether it is the first such. */
  join(): boolean {
    this.#waiters += 1;
    const first = !this.leavable;
    this.leavable = true;
    return first;
  }

  leave(reason: unknown): void {
    this.#waiters -= 1;
    if (this.#waiters === 0 && !this.pinned && !this.settled) this.#abandoned(this, reason);
  }

  /** Ends the batch with an error for each of its keys, none of which stays cached. */
  fail(error: unknown): void {
    this.settled = true;
    this.openGates();
    for (let i = 0; i < this.entries.length; i += 1) {
      this.forget(i);
      this.entries[i]?.fail(error);
    }
  }

  forget(at: number): void {
    const entry = this.entries[at];
    const key = this.keys[at] as K;
    if (entry === undefined) return;
    const promise = entry.result;
    forgetIn(this.#owner, key, entry, promise);
    for (const follower of this.#followers ?? []) if (follower.at === at) forgetIn(follower.owner, key, entry, promise);
  }
}

function forgetIn<K, V>(owner: EntryOwner<K, V> | undefined, key: K, entry: Entry<K, V>, promise: unknown): void {
  try {
    owner?.forget(key, entry, promise);
  } catch {
    // A cache that cannot forget must not keep the callers waiting: they are told what became of the batch.
  }
}
