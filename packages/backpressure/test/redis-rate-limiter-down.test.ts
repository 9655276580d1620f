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
  const errors: unknown[] = [];
  const rate = limiter({ onUnavailable: 'allow', retryAfterMs: 1_000, onError: (error) => errors.push(error) });
  expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 3 });
  proxy.faults.blackHole = true;
  const call = timeOut(rate.consume('a'));
  expect(await call).toEqual({ allowed: true, remaining: 0, retryAfterMs: 0, decidedBy: 'allow' });
  expect(rate.stats()).toMatchObject({ available: false, decidedAlone: 1 });
  expect(errors).toMatchObject([{ code: 'ERR_REDIS_UNAVAILABLE' }]);

  sent = [];
  for (let call = 0; call < 100; call++) await rate.consume('a');
  expect(sent).toEqual([]);

  // The first probe finds it still away.
  await clock.advance(1_000);
  expect(sent).toEqual(['EVALSHA']);
  await clock.advance(50);
  await new Promise(setImmediate);
  expect(rate.stats().available).toBe(false);

  proxy.faults.blackHole = false;
  proxy.resetAll();
  await backAgain(rate);
  expect(errors.length).toBe(1);
  const { decidedAlone } = rate.stats();
  expect(await rate.consume('a')).toMatchObject({ allowed: true, decidedBy: 'redis' });
  expect(rate.stats().decidedAlone).toBe(decidedAlone);
  await rate.close();
});

/** Resolves when a probe has found Redis. Its answer takes real time, the time to the next probe does not. */
async function backAgain(rate: RedisRateLimiter): Promise<void> {
  await vi.waitFor(() => expect(client.status).toBe('ready'));
  await vi.waitFor(async () => {
    await clock.advance(1_000);
    await client.ping();
    expect(rate.stats().available).toBe(true);
  });
}

test("'local' gives this process its share, and no more", async () => {
  const rate = limiter({ limit: 8, intervalMs: 8_000, localShare: 0.25 });
  proxy.faults.blackHole = true;
  expect(await timeOut(rate.consume('a'))).toMatchObject({ allowed: true, remaining: 1, decidedBy: 'local' });
  expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 0 });
  // A unit takes 1 s for all, four times as long for a quarter of them.
  expect(await rate.consume('a')).toMatchObject({ allowed: false, retryAfterMs: 4_000 });
  expect(rate.stats()).toMatchObject({ keys: 1, allowed: 2, denied: 1, decidedAlone: 3 });
  await rate.close();
});

test('what costs more than the share of the burst passes once all of it is there, and is paid for in full', async () => {
  const rate = limiter({ limit: 8, intervalMs: 8_000, localShare: 0.25, retryAfterMs: 1e9 });
  proxy.faults.blackHole = true;
  expect(await timeOut(rate.consume('a', { cost: 8 }))).toMatchObject({ allowed: true, remaining: 0 });
  // The share earns a unit every 4 s: 8 of them take 32 s, of which the last 8 s are the share of the burst.
  expect(await rate.consume('a')).toMatchObject({ allowed: false, retryAfterMs: 28_000 });
  clock.jump(27_999);
  expect(await rate.consume('a')).toMatchObject({ allowed: false, retryAfterMs: 1 });
  clock.jump(1);
  expect(await rate.consume('a')).toMatchObject({ allowed: true });
  await rate.close();
});

test('a share of the burst below one call still lets a call pass, and keeps the rate', async () => {
  const rate = limiter({ limit: 2, intervalMs: 2_000, localShare: 0.1, retryAfterMs: 1e9 });
  proxy.faults.blackHole = true;
  const first = rate.consume('a');
  expect(await timeOut(first)).toMatchObject({ allowed: true, remaining: 0 });
  let allowed = 0;
  for (let ms = 0; ms < 100_000; ms += 100) {
    clock.jump(100);
    if ((await rate.consume('a')).allowed) allowed++;
  }
  expect(allowed).toBe(10);
  await rate.close();
});

test('what was used before Redis went away, and while it is away, still counts', async () => {
  const rate = limiter({ limit: 8, burst: 8, localShare: 0.5 });
  expect(await rate.consume('a', { cost: 6 })).toMatchObject({ allowed: true, decidedBy: 'redis' });
  proxy.faults.blackHole = true;
  // Two of the burst are left for all, one of them for this half.
  expect(await timeOut(rate.consume('a'))).toMatchObject({ allowed: true, remaining: 0, decidedBy: 'local' });
  expect(await rate.consume('a')).toMatchObject({ allowed: false, decidedBy: 'local' });
  proxy.faults.blackHole = false;
  proxy.resetAll();
  await backAgain(rate);
  // As if the other half had done the same: the burst is used.
  expect(await rate.consume('a')).toMatchObject({ allowed: false, decidedBy: 'memory' });
  await rate.close();
});

test('a debt made while Redis was away is brought back to the burst when it is there again', async () => {
  const rate = limiter({ limit: 8, intervalMs: 8_000, localShare: 0.1 });
  proxy.faults.blackHole = true;
  expect(await timeOut(rate.consume('a', { cost: 8 }))).toMatchObject({ allowed: true, decidedBy: 'local' });
  expect((await rate.consume('a')).retryAfterMs).toBe(80_000);
  proxy.faults.blackHole = false;
  proxy.resetAll();
  await backAgain(rate);
  expect(await rate.consume('a', { cost: 8 })).toMatchObject({
    allowed: false,
    decidedBy: 'memory',
    retryAfterMs: 8_000,
  });
  clock.jump(8_000);
  expect(await rate.consume('a')).toMatchObject({ decidedBy: 'redis' });
  await rate.close();
});

test("'deny' lets none pass, and says when the next probe is", async () => {
  const none = limiter({ onUnavailable: 'deny', retryAfterMs: 700 });
  proxy.faults.blackHole = true;
  const call = timeOut(none.consume('a'));
  expect(await call).toEqual({ allowed: false, remaining: 0, retryAfterMs: 700, decidedBy: 'deny' });
  clock.jump(600);
  expect(await none.consume('a')).toMatchObject({ allowed: false, retryAfterMs: 100 });
  await none.close();
});

test('a connection that is lost is noticed without sending: nothing is counted later', async () => {
  const errors: unknown[] = [];
  const rate = limiter({ onUnavailable: 'deny', onError: (error) => errors.push(error) });
  await rate.consume('b');
  await client.flushall();
  sent = [];
  proxy.faults.refuse = true;
  proxy.resetAll();
  await vi.waitFor(() => expect(client.status).not.toBe('ready'));
  expect(await rate.consume('a')).toMatchObject({ allowed: false, decidedBy: 'deny' });
  // Neither while it tries to connect nor by the probes.
  await clock.advance(2_500);
  expect(sent).toEqual([]);
  expect(errors).toMatchObject([{ code: 'ERR_REDIS_UNAVAILABLE' }]);
  proxy.faults.refuse = false;
  await vi.waitFor(() => expect(client.status).toBe('ready'));
  expect(await client.keys('*')).toEqual([]);
  await rate.close();
});

test('the first calls wait for a client that connects for the first time', async () => {
  const lazy = new Redis(service.url, { lazyConnect: true });
  const rate = limiter({ client: lazy, commandTimeoutMs: 60_000, onUnavailable: 'deny' });
  expect(lazy.status).toBe('wait');
  const calls = [rate.consume('a'), rate.consume('a')];
  expect(lazy.status).toBe('connecting');
  expect(await Promise.all(calls)).toMatchObject([{ remaining: 3 }, { remaining: 2 }]);
  await rate.close();
  lazy.disconnect();
});

test.each<[string, unknown]>([
  ['an error', new Error('LOADING Redis is loading the dataset in memory')],
  ['nothing', undefined],
  ['words', 'PONG'],
  ['a list of words', ['yes', 'no']],
  ['too few numbers', [1]],
])('%s in answer is taken for an absence', async (_what, answer) => {
  const call = () => (answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer));
  const rate = limiter({
    client: { status: 'ready', call },
    onError: () => {
      throw new Error('told');
    },
  });
  expect(await rate.consume('a')).toMatchObject({ allowed: true, decidedBy: 'local' });
  expect(rate.stats()).toMatchObject({ available: false, decidedAlone: 1 });
  await rate.close();
  expect(clock.pendingTimers).toBe(0);
});

test('a client that throws is away too', async () => {
  const call = () => {
    throw new Error('Connection is closed.');
  };
  const rate = limiter({ client: { status: 'ready', call } });
  expect(await rate.consume('a')).toMatchObject({ decidedBy: 'local' });
  await rate.close();
});

test('a server that may not write is away, though it would answer a PING, and is back when it may', async () => {
  const rate = limiter();
  await client.call('REPLICAOF', '127.0.0.1', '1');
  try {
    await rate.consume('a');
    expect(await rate.consume('a')).toMatchObject({ decidedBy: 'local' });
    await clock.advance(1_000);
    await client.ping();
    expect(rate.stats().available).toBe(false);
  } finally {
    await client.call('REPLICAOF', 'NO', 'ONE');
  }
  await backAgain(rate);
  await rate.close();
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

test('an answer that the event loop brings before the time-out is looked at counts', async () => {
  const call = () => new Promise<unknown>((resolve) => setImmediate(() => resolve('1')));
  let expire = (): void => {};
  const manual = {
    now: () => 0,
    setTimeout: (fn: () => void) => {
      expire = fn;
    },
    clearTimeout: () => {},
  };
  const rate = limiter({ client: { status: 'ready', call }, onUnavailable: 'deny', clock: manual });
  const waiting = rate.consume('a');
  expire();
  expect(await waiting).toMatchObject({ allowed: true, decidedBy: 'redis' });
  await rate.close();
});
