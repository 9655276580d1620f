import { once } from 'node:events';
import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock, TcpProxy } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';

// Killed and paused: not for a server that others use.
const startOwn = () => startRedis({ external: false });
let service: Awaited<ReturnType<typeof startOwn>>;
let client: Redis;
let cache: Cache;
let clock: ManualClock;

const COMMAND_TIMEOUT_MS = 30_000;
const RETRY_AFTER_MS = 100;

beforeAll(async () => {
  service = await startOwn();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  clock = new ManualClock({ wallNow: Date.now() });
  client = connect(service.url);
  await client.flushall();
  cache = over(client);
});
afterEach(async () => {
  await cache.close();
  client.disconnect();
});

function connect(url: string): Redis {
  const redis = new Redis(url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  redis.on('error', () => {});
  return redis;
}

function over(redis: Redis): Cache {
  return new Cache({
    clock,
    remote: new RedisTier({
      client: redis,
      prefix: 'down:',
      // Memory serves on: what it does otherwise is the matter of isolation.test.ts.
      invalidation: 'none',
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
      retryAfterMs: RETRY_AFTER_MS,
      clock,
    }),
  });
}

/** Resolves when writes reach Redis again. */
async function back(): Promise<void> {
  await vi.waitFor(
    async () => {
      expect(client.status).toBe('ready');
      await clock.advance(RETRY_AFTER_MS);
      await cache.set('probe', 1);
      const direct = new Redis(service.url);
      try {
        expect(await direct.exists('down:probe')).toBe(1);
      } finally {
        direct.disconnect();
      }
    },
    { timeout: 15_000, interval: 20 },
  );
}

/** Kills Redis, and waits until the client has seen it. */
async function killed(): Promise<void> {
  const closed = once(client, 'close');
  await service.kill();
  await closed;
}

/** Has the answer when the time-out of one command is over, and not before. */
async function afterOneTimeout<T>(answer: Promise<T>): Promise<T> {
  let settled = false;
  const stop = () => {
    settled = true;
  };
  answer.then(stop, stop);
  await clock.advance(COMMAND_TIMEOUT_MS - 1);
  expect(settled).toBe(false);
  await clock.advance(1);
  return answer;
}

/** Every method, none of which may reject. */
async function everything(): Promise<void> {
  expect(await cache.getOrSet('known', () => 'not loaded')).toBe('in memory');
  expect(await cache.getOrSet('new', () => 'loaded', { tags: ['t'] })).toBe('loaded');
  expect(await cache.getOrSet('new', () => 'not loaded')).toBe('loaded');
  await expect(cache.getOrSet('bad', () => Promise.reject(new Error('the loader’s own')))).rejects.toThrow('own');
  expect(await cache.get('none')).toBeUndefined();
  expect(await cache.lookup('none')).toBeUndefined();
  expect(await cache.getMany(['known', 'none'])).toEqual(['in memory', undefined]);
  expect(await cache.getOrSetMany(['known', 'many'], (keys) => keys)).toEqual(['in memory', 'many']);
  await cache.set('set', 1);
  expect(await cache.get('set')).toBe(1);
  await cache.expire('set');
  await cache.delete('set');
  await cache.deleteByTag('t');
  expect(cache.peek('new')).toBeUndefined();
  await cache.deleteByPattern('many*');
}

test('Redis killed: memory serves on and nothing rejects; after a restart both tiers work again', async () => {
  await cache.set('known', 'in memory');
  await killed();
  await everything();
  await service.restart();
  await back();
  await cache.clear();
  expect(await cache.getOrSet('again', () => 1)).toBe(1);
  expect(await client.exists('down:again')).toBe(1);
});

test('Redis paused: it costs its time-out once, then nothing, and what it missed is made up for', async () => {
  await cache.set('known', 'in memory');
  await cache.set('deleted meanwhile', 'old');
  const failures: unknown[] = [];
  cache.on('remoteFailure', ({ error }) => failures.push(error));
  await service.pause();
  try {
    expect(await afterOneTimeout(cache.getOrSet('first', () => 'loaded'))).toBe('loaded');
    // The clock stands still from here on: whoever waited for Redis would wait for ever.
    await everything();
    for (let n = 0; n < 100; n++) await cache.getOrSet(`k${n}`, () => n);
    await cache.delete('deleted meanwhile');
    // A probe waits too, but on nobody's time.
    await clock.advance(RETRY_AFTER_MS);
    expect(await cache.getOrSet('while a probe waits', () => 'loaded')).toBe('loaded');
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatchObject({ code: 'ERR_REDIS_UNAVAILABLE' });
  } finally {
    await service.resume();
  }
  await back();
  expect(await cache.get('deleted meanwhile')).toBeUndefined();
  const other = over(client);
  expect(await other.get('deleted meanwhile')).toBeUndefined();
  await other.close();
});

test('Redis killed during a load: the value is had and kept in memory', async () => {
  const value = await cache.getOrSet('k', async () => {
    await killed();
    return 'loaded';
  });
  expect(value).toBe('loaded');
  expect(cache.peek('k')).toBe('loaded');
  await service.restart();
  await back();
});

test('Redis flushed during a load: like any invalidation, it wins', async () => {
  const value = await cache.getOrSet('k', async () => {
    await client.flushall();
    return 'old';
  });
  expect(value).toBe('old');
  expect(cache.peek('k')).toBeUndefined();
  expect(await client.exists('down:k')).toBe(0);
  expect(await cache.getOrSet('k', () => 'new')).toBe('new');
  expect(await client.exists('down:k')).toBe(1);
});

test('a network that swallows everything is a Redis that is down', async () => {
  const proxy = await TcpProxy.start(service.url);
  const behind = connect(proxy.through(service.url));
  const own = over(behind);
  try {
    await own.set('k', 'v');
    proxy.faults.blackHole = true;
    const calls = Promise.all(Array.from({ length: 20 }, (_, n) => own.getOrSet(`key ${n % 4}`, () => n % 4)));
    const values = await afterOneTimeout(calls);
    expect(values).toEqual(Array.from({ length: 20 }, (_, n) => n % 4));
    expect(await own.getOrSet('k', () => 'not loaded')).toBe('v');
  } finally {
    await own.close();
    behind.disconnect();
    await proxy[Symbol.asyncDispose]();
  }
});

test('a server that was never there costs at most one time-out', async () => {
  const nowhere = connect('redis://127.0.0.1:1');
  const own = over(nowhere);
  try {
    expect(await afterOneTimeout(own.getOrSet('first', () => 'loaded'))).toBe('loaded');
    for (let n = 0; n < 50; n++) expect(await own.getOrSet(`k${n}`, () => n)).toBe(n);
  } finally {
    await own.close();
    nowhere.disconnect();
  }
});
