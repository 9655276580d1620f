import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { ManualClock, TcpProxy } from '@x/testkit';
import { Redis as Redis5 } from 'ioredis';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { RELEASES } from '../clients.ts';
import { redisService } from '../redis-service.ts';

// A set that was given up lay in the client, which sent it again when it had reconnected: it overwrote what other processes had set and
// deleted since, for all of them.

const redis = redisService();
let proxy: TcpProxy;

beforeEach(async () => {
  proxy = await TcpProxy.start(redis.url);
  redis.onEnd(() => proxy[Symbol.asyncDispose]());
});

function connect(Redis = Redis5, url = redis.url): Redis5 {
  return redis.connect({ retryStrategy: () => 10, maxRetriesPerRequest: null }, Redis, url);
}

function over(client: Redis5, options: Partial<ConstructorParameters<typeof RedisTier>[0]> = {}) {
  const tier = new RedisTier({ client, prefix: 'late:', invalidation: 'none', commandTimeoutMs: 10_000, ...options });
  const cache = new Cache({ remote: tier, maxItemBytes: 100, ttlMs: 60_000 });
  redis.onEnd(() => cache.close());
  return { cache, tier };
}

const LATE = 'the late value';
/** By the clock of Redis, which cannot be moved. */
const TIMEOUT_MS = 400;

/** Calls `before` when the command that carries the value is about to be sent. */
function beforeTheValue(client: Redis5, before: () => void): { answer: () => Promise<unknown> } {
  let sent: (answer: Promise<unknown>) => void = () => {};
  const answer = new Promise<unknown>((resolve) => {
    sent = (given) => resolve({ given });
  });
  const call = client.call.bind(client) as (...args: unknown[]) => Promise<unknown>;
  client.call = (...args: unknown[]) => {
    if (!args.some((arg) => String(arg).includes(LATE))) return call(...args);
    before();
    const given = call(...args);
    sent(given);
    return given;
  };
  return { answer: async () => ((await answer) as { given: Promise<unknown> }).given };
}

async function redisTime(): Promise<number> {
  const [seconds, micros] = await redis.outsider.time();
  return Number(seconds) * 1_000 + Number(micros) / 1_000;
}

/** A set that is given up, and reaches Redis when `arrive` is called: the network is away as its value is sent. */
async function setInVain(clock: ManualClock, client: Redis5, set: () => Promise<void>) {
  const { answer } = beforeTheValue(client, () => {
    proxy.faults.blackHole = true;
  });
  const setting = set();
  await vi.waitFor(() => expect(proxy.faults.blackHole).toBe(true));
  const sentAt = await redisTime();
  await clock.advance(TIMEOUT_MS);
  await setting;
  return {
    async arrive() {
      while ((await redisTime()) <= sentAt + TIMEOUT_MS);
      proxy.faults.blackHole = false;
      proxy.resetAll();
      return answer();
    },
  };
}

/** A process whose commands are given up when the clock says so, and which makes up for nothing: it is Redis that must refuse. */
function processBehindProxy(Redis = Redis5) {
  const client = connect(Redis, proxy.through(redis.url));
  const clock = new ManualClock({ wallNow: Date.now() });
  return { client, clock, ...over(client, { commandTimeoutMs: TIMEOUT_MS, retryAfterMs: 600_000, clock }) };
}

describe.each(RELEASES)('with $release', ({ Redis }) => {
  test.each<[string, (others: Cache) => Promise<unknown>]>([
    ['set', (others) => others.set('k', 'new')],
    ['delete', (others) => others.delete('k')],
    ['deleteByTag', (others) => others.deleteByTag('t')],
    ['clear', (others) => others.clear()],
  ])('a set that reaches Redis after another process’s %s is not written', async (_, invalidate) => {
    const { cache, tier, clock, client } = processBehindProxy(Redis as typeof Redis5);
    await cache.set('k', 'old', { tags: ['t'] });
    const { arrive } = await setInVain(clock, client, () => cache.set('k', LATE, { tags: ['t'] }));
    expect(tier.stats().owed).toBe(1);
    await invalidate(over(connect()).cache);
    await arrive();
    expect(await over(connect()).cache.get('k')).toBeUndefined();
  });
});

test('a set that comes late deletes: what it was to replace is gone, though its process may be too', async () => {
  const { cache, clock, client } = processBehindProxy();
  await cache.set('k', 'old');
  const { arrive } = await setInVain(clock, client, () => cache.set('k', LATE));
  expect(await over(connect()).cache.get('k')).toBe('old');
  expect(await arrive()).toBe(0);
  expect(await redis.outsider.exists('late:k')).toBe(0);
});

test('how long a set may take counts from its own call', async () => {
  const { cache } = processBehindProxy();
  const start = await redisTime();
  await Promise.all([cache.set('k', 1), cache.set('l', 2)]);
  while ((await redisTime()) <= start + 2 * TIMEOUT_MS);
  await Promise.all([cache.set('k', 3), cache.set('l', 4)]);
  expect(await over(redis.outsider).cache.getMany(['k', 'l'])).toEqual([3, 4]);
});

/** It stands still before it sends the value, for longer than Redis takes it. */
function processThatStops(invalidation: 'tracking' | 'none') {
  const client = connect();
  beforeTheValue(client, () => {
    const until = performance.now() + TIMEOUT_MS + 10;
    while (performance.now() < until);
  });
  return over(client, { commandTimeoutMs: TIMEOUT_MS, clock: new ManualClock({ wallNow: Date.now() }), invalidation });
}

test('the set of a process that stood still between its steps is refused too', async () => {
  const { cache } = processThatStops('none');
  await cache.set('k', LATE);
  expect(await redis.outsider.exists('late:k')).toBe(0);
  expect(cache.stats().remoteFailures).toBe(0);
});

describe('what this process reads while it sets', () => {
  // Too large for memory, so that Redis is asked.
  const large = 'x'.repeat(1_000);

  test.each<[string, Partial<ConstructorParameters<typeof RedisTier>[0]>]>([
    ['as it is', {}],
    ['compressed', { compressOverBytes: 500 }],
  ])('is what it has set, with the value written %s', async (_, options) => {
    const { cache } = over(connect(), { invalidation: 'tracking', ...options });
    await new Promise((resolve) => cache.on('coherence', resolve));
    await over(connect()).cache.set('k', 'old');
    const setting = cache.set('k', large);
    expect(await cache.get('k')).toBe(large);
    const again = cache.set('k', `${large}2`);
    expect(await cache.getMany(['none', 'k'])).toEqual([undefined, `${large}2`]);
    await Promise.all([setting, again]);
    expect(await cache.get('k')).toBe(`${large}2`);
    expect(cache.peek('k')).toBeUndefined();
  });
});

test('closing ends the sets under way', async () => {
  const { cache } = over(connect());
  void cache.set('k', 1);
  void cache.set('k', 2);
  await cache.close();
  expect(await over(connect()).cache.get('k')).toBe(2);
});

test('a set that was refused is told to those who have the key in memory alone', async () => {
  const other = new Cache({ remote: new RedisTier({ client: connect(), prefix: 'late:' }) });
  redis.onEnd(() => other.close());
  await new Promise((resolve) => other.on('coherence', resolve));
  // JSON cannot say it, so that Redis has nothing to tell of.
  await other.set('k', new Map());
  expect(other.peek('k')).toEqual(new Map());
  const { cache } = processThatStops('tracking');
  await cache.set('k', LATE);
  // Nor does its own memory keep what Redis has not: of that it would be told nothing.
  expect(cache.peek('k')).toBeUndefined();
  await vi.waitFor(() => expect(other.peek('k')).toBeUndefined());
});

test('what others do while this process sets does not take from memory what it has then written', async () => {
  const client = connect();
  const { cache } = over(client, { invalidation: 'tracking' });
  await new Promise((resolve) => cache.on('coherence', resolve));
  let told: Promise<unknown> = Promise.resolve();
  const call = client.call.bind(client) as (...args: unknown[]) => Promise<unknown>;
  client.call = async (...args: unknown[]) => {
    const answer = await call(...args);
    // Between the two steps: the news of it is here before the value is sent.
    told = told
      .then(() => redis.outsider.set('late:k', 'theirs'))
      .then(() => new Promise((resolve) => setTimeout(resolve, 30)));
    if (String(args[3]).startsWith('late:')) await told;
    client.call = call as typeof client.call;
    return answer;
  };
  await cache.set('k', 'ours');
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(cache.peek('k')).toBe('ours');
  await redis.outsider.del('late:k');
  await vi.waitFor(() => expect(cache.peek('k')).toBeUndefined());
});
