import { type CacheCounts, type CacheEvents, EVENT_NAMES } from './cache-events.ts';
import { type CacheOptions, checkOptions } from './cache-options.ts';
import { type CacheEntry, type HeldEntry, itsValue } from './entry.ts';
import { CacheClosedError } from './errors.ts';
import { Invalidations } from './invalidations.ts';
import { keep } from './kept-value.ts';
import { callKey, checkKey } from './key.ts';
import type { LoadMany } from './load-many.ts';
import {
  defaultRules,
  type LoadOptions,
  type LoadRules,
  rulesOf,
  type SetOptions,
  type StoreRules,
} from './load-rules.ts';
import type { Loader } from './load-runner.ts';
import { Loads } from './loads.ts';
import { Many } from './many.ts';
import { bag, callable, having, list, listOfText, oneOf, timeout } from './option-checks.ts';
import { CacheScope } from './scope.ts';
import { ScopeNames } from './scope-names.ts';
import { Tiers } from './tiers.ts';
import { type WrapOptions, wrapWith } from './wrap.ts';

export interface GetOrSetOptions extends LoadOptions {
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
  readonly #many: Many;
  readonly #invalidations: Invalidations;
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
    this.#many = new Many(this.#tiers, this.#loads);
    this.#invalidations = new Invalidations(this.#tiers);
    this.#scopes = new ScopeNames(settings);
    this.#memory = this.#tiers.memory;
    this.#clock = settings.clock;
    this.#counts = this.#tiers.counts;
    this.#defaults = defaultRules(settings);
  }

  get name(): string {
    return this.#tiers.settings.name;
  }

  /** The kept value, or the one that `loader` gives. Callers of one key share one load and one error; an error is never kept. */
  getOrSet<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<T> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    const now = this.#clock.now();
    const value = this.#memory.read(key, now);
    if (value === undefined) return this.#load(key, loader, options, itsValue, now) as Promise<T>;
    this.#tiers.hit(key, 'memory');
    return Promise.resolve(value as T);
  }

  /** The same, with what is known of the entry: which tier had it, how old it is, whether it is stale. */
  getOrSetEntry<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<CacheEntry<T>> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    return this.#load(key, loader, options, entryOf, this.#clock.now()) as Promise<CacheEntry<T>>;
  }

  /** The fresh value, from memory or the remote tier. */
  get<T = unknown>(key: string): Promise<T | undefined> {
    const now = this.#clock.now();
    let value = this.#memory.read(key, now);
    if (value !== undefined) this.#tiers.hit(key, 'memory');
    else value = this.#loads.useFresh(key, now)?.value;
    if (value !== undefined) return Promise.resolve(value as T);
    return this.#fetch(key, (found) => {
      if (found === undefined || found.stale) {
        this.#tiers.missed(key);
        return undefined;
      }
      this.#tiers.hit(key, 'remote');
      this.#loads.sliding.used(key, found);
      return found.value as T;
    });
  }

  /** The fresh value if memory has it, at once. Counts neither as a hit nor as a use. */
  peek<T = unknown>(key: string): T | undefined {
    return this.#memory.peek(key, this.#clock.now()) as T | undefined;
  }

  /** What is kept under a key, stale or not, and what is known of it. */
  async lookup<T = unknown>(key: string): Promise<CacheEntry<T> | undefined> {
    const here = this.#tiers.inMemory(key);
    const found = here === undefined || here.stale ? await this.#fetch(key, (there) => there ?? here) : here;
    return found === undefined ? undefined : (entryOf(found) as CacheEntry<T>);
  }

  /** Keeps a value; `undefined` is no value, so that it deletes. A load under way cannot overwrite it. */
  async set(key: string, value: unknown, options?: SetOptions): Promise<void> {
    this.#open();
    checkKey(key);
    const rules = rulesOf(options, this.#defaults);
    const ttlMs = value === null && options?.ttlMs === undefined ? (rules.negativeTtlMs ?? rules.ttlMs) : rules.ttlMs;
    const kept = value === undefined || ttlMs === 0 ? undefined : keep(value, this.#tiers.settings.copy);
    const store: StoreRules = { ...rules, ttlMs: this.#tiers.jittered(ttlMs, rules.jitter) };
    this.#tiers.fences.break(key);
    if (kept === undefined) this.#memory.remove(key);
    else this.#tiers.toMemory(key, kept, store, true);
    await this.#tiers.remotely(
      async (remote) =>
        kept?.json ? remote.set(key, this.#tiers.remoteWrite(value, store)) : void (await remote.delete([key])),
      undefined,
    );
  }

  /** Deletes from both tiers; a load under way is not kept. Returns whether anything was there. */
  async delete(keys: string | readonly string[]): Promise<boolean> {
    return this.#invalidations.delete(listOf('keys', keys));
  }

  /** Makes entries stale in both tiers without deleting them, so that their stale windows begin now. */
  async expire(keys: string | readonly string[]): Promise<void> {
    return this.#invalidations.expire(listOf('keys', keys));
  }

  /** Deletes every entry that has one of the tags. */
  async deleteByTag(tags: string | readonly string[]): Promise<void> {
    return this.#invalidations.deleteByTag(listOfText('tags', listOf('tags', tags)));
  }

  /** Deletes every key that the pattern matches: `*` stands for any run of characters, `\*` for a star. Returns how many memory and the remote tier had at most. */
  deleteByPattern(pattern: string): Promise<number> {
    return this.#invalidations.deleteByPattern(pattern);
  }

  /** Empties both tiers (the remote one below its prefix). */
  clear(): Promise<void> {
    return this.#invalidations.clear();
  }

  /** Frees what is over in memory at once and returns how many entries that were; a sweep does the same every 30 s. */
  prune(): number {
    return this.#tiers.prune();
  }

  /** The fresh values in order; what is not there is undefined. One round trip for all that memory does not have. */
  async getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]> {
    this.#open();
    return (await this.#many.get(list('keys', keys), this.#defaults)) as (T | undefined)[];
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
    this.#open();
    callable('loadMany', loadMany);
    const signal = signalOf(options);
    signal?.throwIfAborted();
    return this.#many.getOrLoad(list('keys', keys), loadMany, rulesOf(options, this.#defaults), signal);
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
    oneOf('event', EVENT_NAMES, event);
    return this.#tiers.listeners.on(event, callable('listener', listener));
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
    this.#tiers.coherence.stop();
    await this.#tiers.remotely((remote) => remote.close(), undefined);
  }

  #load<T>(
    key: string,
    loader: Loader<unknown>,
    options: GetOrSetOptions | undefined,
    part: (entry: CacheEntry) => T,
    now: number,
  ): Promise<T> {
    try {
      checkKey(key);
      callable('loader', loader);
      return this.#loads.resolve(key, loader, rulesOf(options, this.#defaults), signalOf(options), part, now);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** What `then` makes of the remote tier's answer for a key, which goes into memory too. */
  #fetch<T>(key: string, then: (found: HeldEntry | undefined) => T): Promise<T> {
    try {
      this.#open();
      checkKey(key);
      if (this.#tiers.remote === undefined) return Promise.resolve(then(undefined));
      return this.#tiers.readRemote(key, this.#defaults, then);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #open(): void {
    if (this.#closing !== undefined) throw new CacheClosedError(this.name);
  }
}

function signalOf(options: GetOrSetOptions | undefined): AbortSignal | undefined {
  const signal = options?.signal;
  return signal === undefined ? undefined : having('signal', ['addEventListener', 'throwIfAborted'], signal);
}

/** One name or several. */
function listOf(option: string, names: string | readonly string[]): readonly string[] {
  return typeof names === 'string' ? [names] : list(option, names);
}

function entryOf({ value, tier, ageMs, ttlMs, stale }: CacheEntry): CacheEntry {
  return { value, tier, ageMs, ttlMs, stale };
}
