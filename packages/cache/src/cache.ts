import { type CacheOptions, checkOptions } from './cache-options.ts';
import { CacheClosedError } from './errors.ts';
import { KeyPattern } from './glob.ts';
import { keep } from './kept-value.ts';
import { callKey, checkKey } from './key.ts';
import { batchOf, type LoadMany } from './load-many.ts';
import { type Loader, type LoadRules, Loads } from './loads.ts';
import { bag, callable, checkKeeping, having, timeout } from './option-checks.ts';
import { CacheScope, ScopeNames } from './scope.ts';
import { type CacheCounts, type CacheEntry, type CacheEvents, type StoreRules, Tiers } from './tiers.ts';
import { type WrapOptions, wrapWith } from './wrap.ts';

export interface SetOptions {
  /** How long the entry is fresh; 0 does not keep it. Milliseconds, default the cache's `ttlMs` (for null its `negativeTtlMs`). */
  ttlMs?: number | undefined;
  /** Names by which `deleteByTag` finds the entry. */
  tags?: readonly string[] | undefined;
  /** Default the cache's. */
  staleWhileRevalidateMs?: number | undefined;
  /** Default the cache's. */
  staleIfErrorMs?: number | undefined;
}

export interface GetOrSetOptions extends SetOptions {
  /** Ends this caller's wait with the signal's reason; the load goes on while others wait for it. */
  signal?: AbortSignal | undefined;
}

export interface CacheStats extends CacheCounts {
  entries: number;
  bytes: number;
}

const CLOSE_TIMEOUT_MS = 10_000;

/** Results kept in memory and, if given one, in a remote tier; loaded once for any number of callers. */
export class Cache implements AsyncDisposable {
  readonly #tiers: Tiers;
  readonly #loads: Loads;
  readonly #scopes: ScopeNames;
  readonly #memory: Tiers['memory'];
  readonly #clock: Tiers['clock'];
  readonly #counts: CacheCounts;
  readonly #defaults: LoadRules;
  #closing: Promise<void> | undefined;

  constructor(options: CacheOptions = {}) {
    const settings = checkOptions(options);
    this.#tiers = new Tiers(settings);
    this.#loads = new Loads(this.#tiers);
    this.#scopes = new ScopeNames(settings);
    this.#memory = this.#tiers.memory;
    this.#clock = settings.clock;
    this.#counts = this.#tiers.counts;
    this.#defaults = {
      ttlMs: settings.ttlMs,
      negativeTtlMs: settings.negativeTtlMs,
      staleWhileRevalidateMs: settings.staleWhileRevalidateMs,
      staleIfErrorMs: settings.staleIfErrorMs,
      tags: [],
      waitForOthers: true,
    };
  }

  get name(): string {
    return this.#tiers.settings.name;
  }

  /** The kept value, or the one that `loader` gives. Callers of one key share one load and one error; an error is never kept. */
  getOrSet<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<T> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    const value = this.#memory.read(key, this.#clock.now());
    if (value === undefined) return this.#load(key, loader, options).then(itsValue) as Promise<T>;
    this.#counts.hitsMemory++;
    return Promise.resolve(value as T);
  }

  /** The same, with what is known of the entry: which tier had it, how old it is, whether it is stale. */
  async getOrSetEntry<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<CacheEntry<T>> {
    if (options?.signal?.aborted) throw options.signal.reason;
    const { clock } = this.#tiers;
    if (this.#memory.peek(key, clock.now()) === undefined) {
      return (await this.#load(key, loader, options)) as CacheEntry<T>;
    }
    this.#counts.hitsMemory++;
    return entryOf(this.#tiers.inMemory(key) as CacheEntry) as CacheEntry<T>;
  }

  /** The fresh value, from memory or the remote tier. */
  async get<T = unknown>(key: string): Promise<T | undefined> {
    const value = this.#memory.read(key, this.#clock.now());
    if (value !== undefined) {
      this.#counts.hitsMemory++;
      return value as T;
    }
    const found = await this.#fetch(key);
    if (found !== undefined && !found.stale) {
      this.#counts.hitsRemote++;
      return found.value as T;
    }
    this.#counts.misses++;
    return undefined;
  }

  /** The fresh value if memory has it, at once. Counts neither as a hit nor as a use. */
  peek<T = unknown>(key: string): T | undefined {
    return this.#memory.peek(key, this.#clock.now()) as T | undefined;
  }

  /** What is kept under a key, stale or not, and what is known of it. */
  async lookup<T = unknown>(key: string): Promise<CacheEntry<T> | undefined> {
    const here = this.#tiers.inMemory(key);
    const found = here === undefined || here.stale ? ((await this.#fetch(key)) ?? here) : here;
    return found === undefined ? undefined : (entryOf(found) as CacheEntry<T>);
  }

  /** Keeps a value; `undefined` is no value, so that it deletes. A load under way cannot overwrite it. */
  async set(key: string, value: unknown, options?: SetOptions): Promise<void> {
    this.#open();
    checkKey(key);
    const rules = this.#rules(options);
    const ttlMs = value === null && options?.ttlMs === undefined ? (rules.negativeTtlMs ?? rules.ttlMs) : rules.ttlMs;
    const kept = value === undefined || ttlMs === 0 ? undefined : keep(value, this.#tiers.settings.copy);
    const store: StoreRules = { ...rules, ttlMs: this.#tiers.jittered(ttlMs) };
    this.#tiers.fences.break(key);
    if (kept === undefined) this.#memory.remove(key);
    else this.#tiers.toMemory(key, kept, store);
    await this.#tiers.remotely(
      async (remote) =>
        kept?.json ? remote.set(key, this.#tiers.remoteWrite(value, store)) : void (await remote.delete([key])),
      undefined,
    );
  }

  /** Deletes from both tiers; a load under way is not kept. Returns whether anything was there. */
  async delete(keys: string | readonly string[]): Promise<boolean> {
    const all = typeof keys === 'string' ? [keys] : keys;
    all.forEach(checkKey);
    let deleted = false;
    for (const key of all) deleted = this.#forget(key) || deleted;
    const there = all.length === 0 ? 0 : await this.#tiers.remotely((remote) => remote.delete(all), 0);
    return deleted || there > 0;
  }

  /** Makes entries stale in both tiers without deleting them, so that their stale windows begin now. */
  async expire(keys: string | readonly string[]): Promise<void> {
    const all = typeof keys === 'string' ? [keys] : keys;
    all.forEach(checkKey);
    const now = this.#clock.now();
    for (const key of all) {
      this.#tiers.fences.break(key);
      this.#memory.expire(key, now);
      this.#counts.invalidations++;
    }
    if (all.length > 0) await this.#tiers.remotely((remote) => remote.expire(all), undefined);
  }

  /** Deletes every entry that has one of the tags. */
  async deleteByTag(tags: string | readonly string[]): Promise<void> {
    const all = typeof tags === 'string' ? [tags] : tags;
    this.#tiers.fences.breakTagged(all);
    for (const tag of all) for (const key of this.#memory.keysTagged(tag)) this.#forget(key);
    if (all.length > 0) await this.#tiers.remotely((remote) => remote.deleteByTag(all), undefined);
  }

  /** Deletes every key that the pattern matches: `*` stands for any run of characters, `\*` for a star. Returns how many memory and the remote tier had at most. */
  async deleteByPattern(pattern: string): Promise<number> {
    const matcher = new KeyPattern(pattern);
    this.#tiers.fences.breakWhere((fence) => matcher.matches(fence.key));
    let deleted = 0;
    for (const key of this.#memory.keys()) if (matcher.matches(key) && this.#forget(key)) deleted++;
    return Math.max(deleted, await this.#tiers.remotely((remote) => remote.deleteByPattern(pattern), 0));
  }

  /** Empties both tiers (the remote one below its prefix). */
  async clear(): Promise<void> {
    this.#tiers.fences.breakWhere(() => true);
    this.#counts.invalidations += this.#memory.size;
    this.#tiers.stop();
    await this.#tiers.remotely((remote) => remote.clear(), undefined);
  }

  /** Frees what is over in memory at once and returns how many entries that were; a sweep does the same every 30 s. */
  prune(): number {
    return this.#tiers.prune();
  }

  /** The fresh values in order; what is not there is undefined. One round trip for all that memory does not have. */
  async getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]> {
    const now = this.#clock.now();
    const values = keys.map((key) => this.#memory.read(key, now));
    const missing = [...new Set(keys.filter((_, index) => values[index] === undefined))];
    this.#counts.hitsMemory += values.reduce<number>((hits, value) => hits + (value === undefined ? 0 : 1), 0);
    if (missing.length === 0) return values as T[];
    const found = await this.#fetchMany(missing);
    return keys.map((key, index) => values[index] ?? found.get(key)) as (T | undefined)[];
  }

  /**
   * The values in order; all that is missing is asked of `loadMany` in one call, which answers in the order of its keys or with a
   * Map. An Error among its answers is the answer for that key alone; it is not kept.
   */
  async getOrSetMany<T>(
    keys: readonly string[],
    loadMany: LoadMany<T>,
    options?: GetOrSetOptions,
  ): Promise<(T | Error)[]> {
    const signal = signalOf(options);
    signal?.throwIfAborted();
    const values = await this.getMany<T>(keys);
    const missing = [...new Set(keys.filter((_, index) => values[index] === undefined))];
    if (missing.length === 0) return values as T[];
    callable('loadMany', loadMany);
    const rules = { ...this.#rules(options), waitForOthers: false };
    const loaded = await batchOf(missing, loadMany, (key, loader) => {
      this.#open();
      checkKey(key);
      return this.#loads.resolve(key, loader, rules, signal);
    });
    signal?.throwIfAborted();
    return keys.map((key, index) => values[index] ?? loaded.get(key)) as (T | Error)[];
  }

  /** `fn` with its results kept under `name` and its arguments (JSON values; others are refused with a TypeError). */
  wrap<Args extends unknown[], T>(
    fn: (...args: Args) => T | PromiseLike<T>,
    options: WrapOptions<Args>,
  ): (...args: Args) => Promise<T> {
    return wrapWith(this, callKey, fn, options);
  }

  /** The same cache for one tenant, user, …: keys of different scopes never meet, and the remote tier sees no identities. */
  scope(...parts: readonly (string | number)[]): CacheScope {
    return new CacheScope(this, this.#scopes, parts);
  }

  stats(): CacheStats {
    return { ...this.#counts, entries: this.#memory.size, bytes: this.#memory.bytes };
  }

  on<Name extends keyof CacheEvents>(event: Name, listener: (event: CacheEvents[Name]) => void): () => void {
    return this.#tiers.listeners.on(event, listener);
  }

  /**
   * Refuses new loads, waits for those that run, and lets go of memory and the remote tier. Loads that still run after `timeoutMs`
   * (milliseconds, default 10,000; Infinity waits without end) are aborted and their callers rejected with `ERR_CLOSED`.
   */
  close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    const { timeoutMs = CLOSE_TIMEOUT_MS } = bag('close options', options);
    this.#closing ??= this.#close(timeout('close({ timeoutMs })', timeoutMs));
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(timeoutMs: number): Promise<void> {
    const idle = this.#loads.idle();
    const abandon = () => this.#loads.abandonAll(new CacheClosedError(this.name));
    const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : this.#clock.setTimeout(abandon, timeoutMs);
    await idle;
    this.#clock.clearTimeout(timer);
    this.#tiers.stop();
    await this.#tiers.remotely((remote) => remote.close(), undefined);
  }

  async #load(key: string, loader: Loader<unknown>, options: GetOrSetOptions | undefined): Promise<CacheEntry> {
    this.#open();
    checkKey(key);
    callable('loader', loader);
    const rules = this.#rules(options);
    return entryOf(await this.#loads.resolve(key, loader, rules, signalOf(options)));
  }

  /** The remote tier's answer for a key, which goes into memory too. */
  async #fetch(key: string): Promise<CacheEntry | undefined> {
    this.#open();
    checkKey(key);
    if (this.#tiers.remote === undefined) return undefined;
    const fence = this.#tiers.fences.raise(key, []);
    try {
      return (await this.#tiers.fromRemote(key, fence, this.#defaults))?.entry;
    } finally {
      this.#tiers.fences.lower(fence);
    }
  }

  async #fetchMany(keys: readonly string[]): Promise<Map<string, unknown>> {
    this.#open();
    keys.forEach(checkKey);
    const fences = keys.map((key) => this.#tiers.fences.raise(key, []));
    const entries = await this.#tiers.remotely((remote) => remote.getMany(keys), []);
    const values = new Map<string, unknown>();
    fences.forEach((fence, index) => {
      const found = entries[index];
      const entry = found && this.#tiers.admit(fence.key, found, fence, this.#defaults).entry;
      if (entry !== undefined && !entry.stale) values.set(fence.key, entry.value);
      this.#tiers.fences.lower(fence);
    });
    this.#counts.hitsRemote += values.size;
    this.#counts.misses += keys.length - values.size;
    return values;
  }

  #forget(key: string): boolean {
    this.#tiers.fences.break(key);
    this.#counts.invalidations++;
    return this.#memory.remove(key);
  }

  #rules(options: SetOptions | undefined): LoadRules {
    if (options === undefined) return this.#defaults;
    checkKeeping(bag('options', options));
    const defaults = this.#defaults;
    return {
      ttlMs: options.ttlMs ?? defaults.ttlMs,
      negativeTtlMs: defaults.negativeTtlMs,
      staleWhileRevalidateMs: options.staleWhileRevalidateMs ?? defaults.staleWhileRevalidateMs,
      staleIfErrorMs: options.staleIfErrorMs ?? defaults.staleIfErrorMs,
      tags: options.tags ?? defaults.tags,
      waitForOthers: true,
    };
  }

  #open(): void {
    if (this.#closing !== undefined) throw new CacheClosedError(this.name);
  }
}

function signalOf(options: GetOrSetOptions | undefined): AbortSignal | undefined {
  const signal = options?.signal;
  return signal === undefined ? undefined : having('signal', ['addEventListener', 'throwIfAborted'], signal);
}

function itsValue(entry: CacheEntry): unknown {
  return entry.value;
}

function entryOf({ value, tier, ageMs, ttlMs, stale }: CacheEntry): CacheEntry {
  return { value, tier, ageMs, ttlMs, stale };
}
