import { EventEmitter } from 'node:events';
import keyvTestSuite from '@keyv/test-suite';
import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import Keyv, { type KeyvStoreAdapter } from 'keyv';
import * as vitest from 'vitest';

/** A `Cache` as a store of keyv: what keyv calls is what the cache has. */
class CacheStore extends EventEmitter implements KeyvStoreAdapter {
  opts = {};
  namespace?: string | undefined;
  readonly #cache: Cache;

  constructor(cache: Cache) {
    super();
    this.#cache = cache;
  }

  get<Value>(key: string): Promise<Value | undefined> {
    return this.#cache.get<Value>(key);
  }

  async getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    return await this.#cache.getMany<Value>(keys);
  }

  async set(key: string, value: unknown, ttlMs?: number): Promise<boolean> {
    await this.#cache.set(key, value, { ttlMs });
    return true;
  }

  delete(key: string): Promise<boolean> {
    return this.#cache.delete(key);
  }

  deleteMany(keys: string[]): Promise<boolean> {
    return this.#cache.delete(keys);
  }

  async has(key: string): Promise<boolean> {
    return (await this.#cache.get(key)) !== undefined;
  }

  async clear(): Promise<void> {
    if (this.namespace === undefined) await this.#cache.clear();
    else await this.#cache.deleteByPattern(`${this.namespace}:*`);
  }
}

/** The suite freezes and moves Date: the cache's time is to move with it. */
const clock = {
  now: () => Date.now(),
  setTimeout: (fn: () => void, ms: number) => setTimeout(fn, ms),
  clearTimeout: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
};

vitest.describe('@keyv/test-suite on the memory tier', () => {
  const cache = new Cache({ ttlMs: Number.POSITIVE_INFINITY, clock });
  keyvTestSuite(vitest, Keyv, () => new CacheStore(cache));
});

vitest.describe('@keyv/test-suite on Redis', () => {
  let service: Awaited<ReturnType<typeof startRedis>>;
  let client: Redis;
  let cache: Cache;
  vitest.beforeAll(async () => {
    service = await startRedis();
    client = new Redis(service.url);
    // Nothing fits into memory, so that Redis answers everything.
    cache = new Cache({
      ttlMs: Number.POSITIVE_INFINITY,
      maxItemBytes: 1,
      remote: new RedisTier({ client, prefix: 'keyv-suite:' }),
    });
  });
  vitest.afterAll(async () => {
    await cache?.close();
    client?.disconnect();
    await service?.[Symbol.asyncDispose]();
  });
  keyvTestSuite(vitest, Keyv, () => new CacheStore(cache));
});
