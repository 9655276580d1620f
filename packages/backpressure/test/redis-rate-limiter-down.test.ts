import { RedisRateLimiter, type RedisRateLimiterOptions } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { ManualClock, TcpProxy } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';

const startOwn = () => startRedis({ external: false });
let service: Awaited<ReturnType<typeof startOwn>>;
let proxy: TcpProxy;
let client: Redis;
let clock: ManualClock;
let sent: string[];

beforeAll(async () => {
  service = await startOwn();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  proxy = await TcpProxy.start(service.url);
  const url = new URL(service.url);
  url.port = String(proxy.port);
  client = new Redis(url.href, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => {});
  await client.flushall();
  clock = new ManualClock();
  sent = [];
});
afterEach(async () => {
  client.disconnect();
  await proxy[Symbol.asyncDispose]();
});

function limiter(options: Partial<RedisRateLimiterOptions> = {}): RedisRateLimiter {
  const counted = {
    get status() {
      return client.status;
    },
    call: (command: string, ...args: (string | number)[]) => {
      sent.push(command);
      return client.call(command, ...args);
    },
  };
  return new RedisRateLimiter({ client: counted, limit: 4, intervalMs: 1e9, commandTimeoutMs: 50, clock, ...options });
}

/** Lets what waits for Redis run into its time-out. */
async function timeOut<T>(waiting: Promise<T>): Promise<T> {
  await clock.advance(50);
  return waiting;
}

test('a Redis that does not answer costs one time-out, then it is not asked until a probe finds it back', async () => {
  const rate = limiter({ onUnavailable: 'allow', retryAfterMs: 1_000 });
  expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 3 });
  proxy.faults.blackHole = true;
  expect(await timeOut(rate.consume('a'))).toEqual({ allowed: true, remaining: 0, retryAfterMs: 0 });
  expect(rate.stats()).toMatchObject({ available: false, decidedAlone: 1 });

  sent = [];
  for (let call = 0; call < 100; call++) await rate.consume('a');
  expect(sent).toEqual([]);

  // The first probe finds it still away.
  await clock.advance(1_000);
  expect(sent).toEqual(['PING']);
  await clock.advance(50);
  await new Promise(setImmediate);
  expect(rate.stats().available).toBe(false);

  proxy.faults.blackHole = false;
  proxy.resetAll();
  await vi.waitFor(() => expect(client.status).toBe('ready'));
  await vi.waitFor(async () => {
    await clock.advance(1_000);
    await client.ping();
    expect(rate.stats().available).toBe(true);
  });
  const { decidedAlone } = rate.stats();
  expect(await rate.consume('a')).toMatchObject({ allowed: true });
  expect(rate.stats().decidedAlone).toBe(decidedAlone);
  await rate.close();
});

test("'local' gives this process its share, and no more", async () => {
  const rate = limiter({ limit: 8, localShare: 0.25 });
  proxy.faults.blackHole = true;
  expect(await timeOut(rate.consume('a'))).toMatchObject({ allowed: true, remaining: 1 });
  // What costs more than the share of the burst takes all of it.
  expect(await rate.consume('b', { cost: 8 })).toMatchObject({ allowed: true, remaining: 0 });
  expect(await rate.consume('b')).toMatchObject({ allowed: false });
  expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 0 });
  expect(await rate.consume('a')).toMatchObject({ allowed: false, retryAfterMs: 1e9 / 2 });
  expect(rate.stats()).toMatchObject({ keys: 2, allowed: 3, denied: 2, decidedAlone: 5 });
  await rate.close();
});

test("a share of the burst below one call still lets a call pass; 'deny' lets none", async () => {
  const few = limiter({ limit: 2, localShare: 0.1 });
  const none = limiter({ onUnavailable: 'deny', retryAfterMs: 700 });
  proxy.faults.blackHole = true;
  expect(await timeOut(few.consume('a'))).toMatchObject({ allowed: true, remaining: 0 });
  expect(await timeOut(none.consume('a'))).toEqual({ allowed: false, remaining: 0, retryAfterMs: 700 });
  await few.close();
  await none.close();
});

test('a connection that is lost is noticed without sending: nothing is counted later', async () => {
  const rate = limiter({ onUnavailable: 'deny' });
  proxy.faults.refuse = true;
  proxy.resetAll();
  await vi.waitFor(() => expect(client.status).toBe('reconnecting'));
  expect(await rate.consume('a')).toMatchObject({ allowed: false });
  expect(sent).toEqual([]);
  proxy.faults.refuse = false;
  await vi.waitFor(() => expect(client.status).toBe('ready'));
  expect(await client.keys('*')).toEqual([]);
  await rate.close();
});

test('an error of the server is answered for like an absence', async () => {
  const rate = limiter({ client: { status: 'ready', call: () => Promise.reject(new Error('LOADING')) } });
  expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 3 });
  expect(rate.stats()).toMatchObject({ available: false, decidedAlone: 1 });
  await rate.close();
  expect(clock.pendingTimers).toBe(0);
});

test('after a busy event loop an answer that is there already is taken', async () => {
  // Not through the proxy, which lives in this process and could not pass anything on meanwhile.
  const direct = new Redis(service.url);
  const rate = limiter({ client: direct, onUnavailable: 'deny' });
  await direct.ping();
  await rate.consume('warm');
  const waiting = rate.consume('a');
  // The time-out falls due while the answer lies in the socket, unread.
  await new Promise((resolve) => setImmediate(resolve));
  const until = performance.now() + 30;
  while (performance.now() < until);
  clock.jump(50);
  void clock.advance(0);
  expect(await waiting).toMatchObject({ allowed: true });
  await rate.close();
  direct.disconnect();
});
