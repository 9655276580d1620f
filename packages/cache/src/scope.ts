import type { Cache, GetOrSetOptions } from './cache.ts';
import type { CacheEntry } from './entry.ts';
import { escapePattern } from './glob.ts';
import { callKey } from './key.ts';
import { answersByKey, type LoadMany } from './load-many.ts';
import type { SetOptions } from './load-rules.ts';
import type { LoadContext, Loader } from './load-runner.ts';
import type { ScopeNames } from './scope-names.ts';
import { type WrapOptions, wrapWith } from './wrap.ts';

/** A cache seen by one scope: the methods of `Cache` over keys and tags of its own. Made by `cache.scope()`. */
export class CacheScope {
  readonly #cache: Cache;
  readonly #names: ScopeNames;
  readonly #parts: readonly (string | number)[];
  readonly #prefix: string;

  constructor(cache: Cache, names: ScopeNames, parts: readonly (string | number)[]) {
    this.#cache = cache;
    this.#names = names;
    this.#parts = [...parts];
    this.#prefix = names.prefix(parts);
  }

  getOrSet<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<T> {
    return this.#cache.getOrSet(this.#key(key), under(key, loader), this.#tagged(options));
  }

  getOrSetEntry<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<CacheEntry<T>> {
    return this.#cache.getOrSetEntry(this.#key(key), under(key, loader), this.#tagged(options));
  }

  get<T = unknown>(key: string): Promise<T | undefined> {
    return this.#cache.get<T>(this.#key(key));
  }

  peek<T = unknown>(key: string): T | undefined {
    return this.#cache.peek<T>(this.#key(key));
  }

  lookup<T = unknown>(key: string): Promise<CacheEntry<T> | undefined> {
    return this.#cache.lookup<T>(this.#key(key));
  }

  set(key: string, value: unknown, options?: SetOptions): Promise<void> {
    return this.#cache.set(this.#key(key), value, this.#tagged(options));
  }

  delete(keys: string | readonly string[]): Promise<boolean> {
    return this.#cache.delete(this.#all(keys));
  }

  expire(keys: string | readonly string[]): Promise<void> {
    return this.#cache.expire(this.#all(keys));
  }

  /** Deletes the entries of this scope that have one of the tags; the same on the cache itself deletes those of all scopes. */
  deleteByTag(tags: string | readonly string[]): Promise<void> {
    return this.#cache.deleteByTag(this.#all(tags));
  }

  deleteByPattern(pattern: string): Promise<number> {
    return this.#cache.deleteByPattern(named(pattern) ? escapePattern(this.#prefix) + pattern : pattern);
  }

  /** Deletes everything in this scope. */
  async clear(): Promise<void> {
    await this.deleteByPattern('*');
  }

  getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]> {
    return this.#cache.getMany<T>(this.#all(keys) as readonly string[]);
  }

  getOrSetMany<T>(keys: readonly string[], loadMany: LoadMany<T>, options?: GetOrSetOptions): Promise<(T | Error)[]> {
    const { length } = this.#prefix;
    const load: LoadMany<T> = async (scoped, context) => {
      const own = scoped.map((key) => key.slice(length));
      const answers = answersByKey(own, await loadMany(own, context));
      return own.map((key) => answers.get(key) as T | Error);
    };
    return this.#cache.getOrSetMany(this.#all(keys) as readonly string[], load, this.#tagged(options));
  }

  wrap<Args extends unknown[], T>(
    fn: (...args: Args) => T | PromiseLike<T>,
    options: WrapOptions<Args>,
  ): (...args: Args) => Promise<T> {
    return wrapWith(this, callKey, fn, options);
  }

  /** A scope within this one: `cache.scope('a').scope('b')` is `cache.scope('a', 'b')`. */
  scope(...parts: readonly (string | number)[]): CacheScope {
    return new CacheScope(this.#cache, this.#names, [...this.#parts, ...parts]);
  }

  /** What is no key stays what it is, for the cache to refuse: added to the prefix it would become one. */
  #key(key: string): string {
    return named(key) ? this.#prefix + key : key;
  }

  #all(names: string | readonly string[]): string | readonly string[] {
    return Array.isArray(names) ? names.map((name) => this.#key(name)) : this.#key(names as string);
  }

  #tagged<Options extends SetOptions>(options: Options | undefined): Options | undefined {
    if (!Array.isArray(options?.tags) || options.tags.length === 0) return options;
    return { ...options, tags: [...options.tags, ...options.tags.map((tag) => this.#key(tag))] };
  }
}

function named(name: unknown): boolean {
  return typeof name === 'string' && name !== '';
}

/** The loader sees the key that its caller gave. */
function under<T>(key: string, loader: Loader<T>): Loader<T> {
  return ({ signal, setTtl }: LoadContext) => loader({ key, signal, setTtl });
}
