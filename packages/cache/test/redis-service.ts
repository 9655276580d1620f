import { startRedis } from '@x/local-services';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';

/** A Redis for the tests of one file. */
export interface RedisService {
  readonly url: string;
  /** A client that no cache knows of. */
  readonly outsider: Redis;
  /** A client that is disconnected after the test. */
  connect(options?: RedisOptions, Release?: typeof Redis, url?: string): Redis;
  /** Called after the test, the last one first. */
  onEnd(close: () => unknown): void;
}

/** Starts a Redis for the file and empties it before each test. */
export function redisService(): RedisService {
  let service: Awaited<ReturnType<typeof startRedis>>;
  let outsider: Redis;
  const closing: (() => unknown)[] = [];

  beforeAll(async () => {
    service = await startRedis();
  });
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    outsider = redis.connect();
    await outsider.flushall();
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const redis: RedisService = {
    get url() {
      return service.url;
    },
    get outsider() {
      return outsider;
    },
    connect(options = {}, Release = Redis, url = service.url) {
      const client = new Release(url, options);
      // Some are cut off on purpose.
      client.on('error', () => {});
      closing.push(() => client.disconnect());
      return client;
    },
    onEnd(close) {
      closing.push(close);
    },
  };
  return redis;
}
