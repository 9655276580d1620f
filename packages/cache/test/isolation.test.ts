import { Cache, type CacheOptions } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock, TcpProxy } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

// Paused and restarted: not for a server that others use.
const startOwn = () => startRedis({ external: false });
let service: Awaited<ReturnType<typeof startOwn>>;
/** Between Redis and the connections on which changes are heard. */
let proxy: TcpProxy;
let clock: ManualClock;
let outsider: Redis;
const closing: (() => unknown)[] = [];

const MAX_LAG_MS = 2_000;
const HEARTBEAT_MS = MAX_LAG_MS / 4;
const RETRY_AFTER_MS = 1_000;

beforeAll(async () => {
  service = await startOwn();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  clock = new ManualClock({ wallNow: Date.now() });
  outsider = connect();
  await outsider.flushall();
  proxy = await TcpProxy.start(service.url);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await proxy[Symbol.asyncDispose]();
});

function connect(): Redis {
  const client = new Redis(service.url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => {});
  closing.push(() => client.disconnect());
  return client;
}

class Process {
  readonly states: string[] = [];
  readonly cache: Cache;

  constructor(options: CacheOptions, invalidation: 'tracking' | 'pubsub') {
    const client = connect();
    client.duplicate = (override) => new Redis(proxy.through(service.url), { ...override });
    const remote = new RedisTier({
      client,
      prefix: 'alone:',
      invalidation,
      clock,
      commandTimeoutMs: 1_000_000_000,
      maxLagMs: MAX_LAG_MS,
      retryAfterMs: RETRY_AFTER_MS,
    });
    // On a busy machine the clock is moved by minutes until Redis is heard again.
    this.cache = new Cache({ clock, ttlMs: 86_400_000, remote, ...options });
    this.cache.on('coherence', ({ state }) => this.states.push(state));
  }

  /** Waits on Redis' time, while the clock moves as little as is told. */
  async until(state: 'coherent' | 'isolated', stepMs = 0): Promise<void> {
    await vi.waitFor(
      async () => {
        if (this.states.at(-1) !== state) await clock.advance(stepMs);
        expect(this.states.at(-1)).toBe(state);
      },
      { timeout: 10_000, interval: 2 },
    );
  }
}

async function start(options: CacheOptions = {}, invalidation: 'tracking' | 'pubsub' = 'tracking'): Promise<Process> {
  const process = new Process(options, invalidation);
  closing.push(() => process.cache.close());
  await process.until('coherent');
  return process;
}

describe.each(['tracking', 'pubsub'] as const)('under %s', (invalidation) => {
  test('what was in memory when the connection was lost is asked of Redis, and is believed for maxLagMs', async () => {
    const { cache, until } = bound(await start({}, invalidation));
    await cache.set('k', 'old');
    const other = bound(await start({}, invalidation));
    proxy.faults.refuse = true;
    proxy.resetAll();
    await until('isolated');
    expect(cache.peek('k')).toBeUndefined();
    await other.cache.set('k', 'new');
    expect(await cache.getOrSet('k', () => 'not loaded')).toBe('new');
    expect(cache.peek('k')).toBe('new');
    await clock.advance(MAX_LAG_MS - 1);
    expect(cache.peek('k')).toBe('new');
    await clock.advance(1);
    expect(cache.peek('k')).toBeUndefined();
    await cache.get('k');
    expect(cache.peek('k')).toBe('new');
    proxy.faults.refuse = false;
    await until('coherent', RETRY_AFTER_MS);
    // It may have been changed unheard.
    expect(cache.peek('k')).toBeUndefined();
    expect(await cache.get('k')).toBe('new');
    await clock.advance(MAX_LAG_MS - 1);
    await other.until('coherent');
    await other.cache.delete('k');
    await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
  });
});

function bound(process: Process) {
  return { cache: process.cache, until: process.until.bind(process) };
}

test('a process that stood still believes nothing until it has heard', async () => {
  const { cache, until } = bound(await start());
  await cache.set('k', 'old');
  await outsider.del('alone:k');
  // Its timers have not run, nor has it read from its sockets.
  clock.jump(MAX_LAG_MS);
  expect(cache.peek('k')).toBeUndefined();
  expect(await cache.getOrSet('k', () => 'new')).toBe('new');
  await until('isolated');
  await until('coherent', HEARTBEAT_MS);
  expect(await cache.get('k')).toBe('new');
});

test('a Redis that stands still is not believed for longer than maxLagMs, and what it says afterwards is heard', async () => {
  const { cache, until } = bound(await start());
  await cache.set('k', 'old');
  await clock.advance(HEARTBEAT_MS);
  await service.pause();
  try {
    await clock.advance(MAX_LAG_MS - HEARTBEAT_MS);
    await clock.advance(HEARTBEAT_MS);
    expect(cache.peek('k')).toBeUndefined();
  } finally {
    await service.resume();
  }
  expect(await cache.get('k')).toBe('old');
  await until('coherent', HEARTBEAT_MS);
  await cache.get('k');
  expect(cache.peek('k')).toBe('old');
  await outsider.del('alone:k');
  await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
});

test('while nothing can be heard or asked, a key is loaded once for maxLagMs, and stale windows are served', async () => {
  const { cache, until } = bound(await start());
  const swr = bound(await start({ staleWhileRevalidateMs: 60_000 }));
  await cache.set('k', 0);
  await swr.cache.set('s', 0);
  // What is said of these writes has been heard.
  await clock.advance(HEARTBEAT_MS);
  await outsider.ping();
  await service.kill();
  await until('isolated', 10);
  await swr.until('isolated', 10);
  let loads = 0;
  const load = () => ++loads;
  expect(await Promise.all([cache.getOrSet('k', load), cache.getOrSet('k', load)])).toEqual([1, 1]);
  await clock.advance(MAX_LAG_MS - 1);
  expect(await cache.getOrSet('k', load)).toBe(1);
  await clock.advance(1);
  expect(await cache.getOrSet('k', load)).toBe(2);
  expect(await swr.cache.lookup('s')).toMatchObject({ value: 0, stale: true });
  expect(await swr.cache.getOrSet('s', () => 1)).toBe(0);
  await vi.waitFor(() => expect(swr.cache.peek('s')).toBe(1));
  await service.restart();
  await until('coherent', RETRY_AFTER_MS);
});

test('a connection that says nothing any more is given up for another', async () => {
  const { cache, until } = bound(await start());
  await cache.set('k', 'old');
  proxy.faults.blackHole = true;
  await until('isolated', HEARTBEAT_MS);
  expect(cache.peek('k')).toBeUndefined();
  proxy.faults.blackHole = false;
  await until('coherent', HEARTBEAT_MS);
  await cache.get('k');
  await outsider.set('alone:k', 'x');
  await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
});

test('before it hears for the first time, memory is believed for maxLagMs', async () => {
  proxy.faults.refuse = true;
  const process = new Process({}, 'tracking');
  closing.push(() => process.cache.close());
  await process.cache.set('k', 1);
  expect(process.cache.peek('k')).toBe(1);
  await clock.advance(MAX_LAG_MS);
  expect(process.cache.peek('k')).toBeUndefined();
  proxy.faults.refuse = false;
  await process.until('coherent', RETRY_AFTER_MS);
  expect(process.states).toEqual(['coherent']);
  await process.cache.get('k');
  await clock.advance(HEARTBEAT_MS);
  expect(process.cache.peek('k')).toBe(1);
});
