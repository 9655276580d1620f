import type { Cache } from './cache.ts';
import { checkClock } from './cache-options.ts';
import { type Clock, systemClock } from './clock.ts';
import { callKey } from './key.ts';
import { bag, having, positiveDuration } from './option-checks.ts';

/** Where the client keeps a response: a method, its parameters, and whose it is (server and user). */
export interface ResponseCacheKey {
  readonly method: string;
  readonly params?: string;
  readonly partition?: string;
}

/** A response as the client keeps it. */
export interface ResponseCacheEntry {
  /** JSON text. */
  readonly value: string;
  /** Another one for each write. */
  readonly stamp: number;
  /** Wall-clock milliseconds since 1970. */
  readonly expiresAt?: number;
  readonly scope?: 'public' | 'private';
}

/** The `ResponseCacheStore` of `@modelcontextprotocol/client` 2.x. */
export interface ResponseCacheStore {
  get(key: ResponseCacheKey): Promise<ResponseCacheEntry | undefined>;
  set(key: ResponseCacheKey, entry: Omit<ResponseCacheEntry, 'stamp'>): Promise<number>;
  delete(key: ResponseCacheKey): Promise<void>;
  evict(method: string): Promise<void>;
  clear(): Promise<void>;
}

export interface ResponseCacheStoreOptions {
  /**
   * For so long a list is kept beyond its freshness: the client never serves it then, but still reads the tools' schemas from it.
   * Milliseconds, default 86,400,000 (a day).
   */
  retainMs?: number | undefined;
  /** Default: the process's own. */
  clock?: Clock | undefined;
}

const DAY_MS = 86_400_000;
const ALL_TAG = 'mcp-responses';

/**
 * Lets MCP clients (`new Client(info, { responseCacheStore })`) keep the responses of servers in a `Cache`: bounded, and shared by
 * processes over Redis. Each partition is a scope of the cache, so that names of servers and users stay out of Redis and
 * `maxScopeShare` applies; over a remote tier the cache needs `scopeSecret`.
 */
export function responseCacheStore(cache: Cache, options: ResponseCacheStoreOptions = {}): ResponseCacheStore {
  having('cache', ['get', 'set', 'scope', 'deleteByTag'], cache);
  const { retainMs = DAY_MS, clock = systemClock() } = bag('responseCacheStore options', options);
  positiveDuration('retainMs', retainMs);
  checkClock(clock);
  // Refuses now, not at the first response, a cache that cannot have scopes.
  cache.scope(ALL_TAG);
  const wallNow = () => clock.wallNow?.() ?? Date.now();
  let lastStamp = 0;

  const placeOf = ({ method, params = '', partition = '' }: ResponseCacheKey) => ({
    scope: cache.scope(`${ALL_TAG} ${partition}`),
    // Hashed when long: a URI has no end.
    key: callKey(method, [params]),
  });

  /** Greater than all before it here, and another than those of other processes. */
  function newStamp(): number {
    const stamp = wallNow() * 4_096 + Math.floor(Math.random() * 4_096);
    lastStamp = Math.max(lastStamp + 1, stamp);
    return lastStamp;
  }

  return {
    async get(key) {
      const { scope, key: name } = placeOf(key);
      const kept = await scope.get<Partial<ResponseCacheEntry>>(name);
      // What stands in Redis may be anybody's.
      if (typeof kept?.value !== 'string' || !Number.isSafeInteger(kept.stamp)) return undefined;
      return kept as ResponseCacheEntry;
    },

    async set(key, { value, expiresAt, scope: cacheScope }) {
      const { scope, key: name } = placeOf(key);
      const stamp = newStamp();
      const freshMs = expiresAt === undefined ? 0 : Math.max(0, expiresAt - wallNow());
      const ttlMs = key.method === 'resources/read' ? freshMs : Math.max(freshMs, retainMs);
      const entry = {
        value,
        stamp,
        ...(expiresAt !== undefined && { expiresAt }),
        ...(cacheScope && { scope: cacheScope }),
      };
      await scope.set(name, entry, {
        ttlMs,
        tags: [ALL_TAG, methodTag(key.method)],
        jitter: 0,
        sliding: false,
      });
      return stamp;
    },

    async delete(key) {
      const { scope, key: name } = placeOf(key);
      await scope.delete(name);
    },

    evict: (method) => cache.deleteByTag(methodTag(method)),
    clear: () => cache.deleteByTag(ALL_TAG),
  };
}

function methodTag(method: string): string {
  return `${ALL_TAG}:${method}`;
}
