/** What a remote tier gives back for a key. Times are wall-clock milliseconds since 1970. */
export interface RemoteEntry {
  value: unknown;
  storedAt: number;
  freshUntil: number;
  tags: readonly string[];
  /** How long its load took, if it is known. Milliseconds. */
  loadMs?: number | undefined;
  /** Given where `value` is plain JSON data that was parsed for this call and that nobody else holds: the bytes of its text. Spares the cache a look. */
  textBytes?: number | undefined;
  /** Names this very state of the key: it changes whenever the entry is written, expired or deleted. */
  version: string;
}

/** What is written to a remote tier. */
export interface RemoteWrite {
  value: unknown;
  /** Wall-clock milliseconds since 1970. */
  storedAt: number;
  /** Wall-clock milliseconds since 1970, or Infinity. */
  freshUntil: number;
  /** How long the entry is kept, its stale windows included. Milliseconds, or Infinity. */
  keepMs: number;
  tags: readonly string[];
  /** How long the load took; absent if the value was not loaded. Milliseconds. */
  loadMs?: number | undefined;
}

/**
 * The answer to a process that wants to load a key: `granted` with the token that its write must show; `held` by a load elsewhere;
 * `changed` since it was read, so read again; `unavailable`, so load without one.
 */
export type LeaseAnswer =
  | { state: 'granted'; token: string }
  /** `leftMs`: until the lease is over unless it is renewed, if that is known: the others wait until then. */
  | { state: 'held'; leftMs?: number | undefined }
  | { state: 'changed' | 'unavailable' };

/**
 * Is told by a remote tier what others do to its entries, so that memory does not outlive them. A tier may leave out what it knows to
 * be this process's own doing.
 */
export interface RemoteListener {
  /** These keys were written, expired or deleted. */
  changed(keys: readonly string[]): void;
  /** All entries that have one of these tags were deleted. */
  tagsChanged(tags: readonly string[]): void;
  /** All keys that match were deleted; the pattern is one of `deleteByPattern`. */
  patternChanged(pattern: string): void;
  /** Nothing is as it was. */
  everythingChanged(): void;
  /** All that was changed until so long ago has been told. Milliseconds. */
  current(agoMs: number): void;
  /** From now on changes may go untold. */
  lost(reason: unknown): void;
  /** From now on changes are told again; those before may not have been. */
  back(): void;
  /** Changes are noticed in another way than the one asked for, or not at all, or a deletion may miss something. */
  degraded(to: string, reason: unknown): void;
  /** Whether memory has the key or something is on its way there: nobody needs to find out whether a key that is not held has changed. */
  holds(key: string): boolean;
}

/**
 * The second tier of a `Cache`. Any method may reject or answer `unavailable`: the cache reports it and serves on from memory.
 *
 * The lease is what lets an invalidation win against a load: `lease` marks the key, every invalidation takes the mark away, and
 * `store` writes only where its mark still stands.
 */
export interface RemoteTier {
  /** How long a lease lasts unless renewed: what a dead holder may cost the others. Milliseconds. */
  readonly leaseMs: number;
  get(key: string): Promise<RemoteEntry | undefined>;
  getMany(keys: readonly string[]): Promise<(RemoteEntry | undefined)[]>;
  /** Asks for the right to load `key`. `seen` is the version that was read, or undefined for a miss. */
  lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer>;
  renew(key: string, token: string): Promise<void>;
  /** Gives a lease back without a value. */
  release(key: string, token: string): Promise<void>;
  store(key: string, token: string, entry: RemoteWrite): Promise<'stored' | 'lost' | 'unavailable'>;
  /** Writes whatever stands there now. When it has settled it must not take effect any more: others may have changed the key since. */
  set(key: string, entry: RemoteWrite): Promise<void>;
  /** Returns how many there were. */
  delete(keys: readonly string[]): Promise<number>;
  /** Makes entries stale without removing them. */
  expire(keys: readonly string[]): Promise<void>;
  deleteByTag(tags: readonly string[]): Promise<void>;
  /** `*` stands for any run of characters, `\*` for a star. Returns how many there were. */
  deleteByPattern(pattern: string): Promise<number>;
  clear(): Promise<void>;
  close(): Promise<void>;
  /**
   * Optional: tells of changes by others until the function returned is called. Until `back` is called for the first time, and between `lost`
   * and `back`, nothing in memory is taken for fresh for longer than `maxLagMs`, nor when `current` has not been heard for so long.
   */
  readonly subscribe?: ((listener: RemoteListener) => () => void) | undefined;
  /** How long a change by others may go unnoticed at most. Needed with `subscribe`. Milliseconds, or Infinity. */
  readonly maxLagMs?: number | undefined;
}
