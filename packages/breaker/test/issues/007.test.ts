import { CircuitBreaker } from '@x/breaker';
import { type RedisClient, RedisSharedState } from '@x/breaker/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';

// A state that was closed while Redis still had something to answer shared on: a lease that was being asked for stayed in
// Redis to its end, and the answer to a sync let the breakers ask for further ones.

let service: Awaited<ReturnType<typeof startRedis>>;
let redis: Redis;
const key = `breaker-test:${process.pid}:007`;

beforeAll(async () => {
  service = await startRedis();
  redis = new Redis(service.url);
});
afterEach(async () => {
  await redis.del(key);
});
afterAll(async () => {
  redis?.disconnect();
  await service?.[Symbol.asyncDispose]();
});

/** Redis does at once what it is asked; the answers to `verb` come when they are let through. */
class SlowAnswers implements RedisClient {
  readonly status = 'ready';
  verb = '';
  readonly asked: string[] = [];
  readonly held: (() => void)[] = [];

  async call(command: string, ...args: (string | number)[]): Promise<unknown> {
    const verb = String(args[3]);
    if (command === 'EVALSHA') this.asked.push(verb);
    const answer = await redis.call(command, ...args);
    if (verb === this.verb) await new Promise<void>((resolve) => this.held.push(resolve));
    return answer;
  }
}

/** A circuit that may be probed, known to Redis. */
async function halfOpen() {
  const client = new SlowAnswers();
  const clock = new ManualClock();
  const shared = new RedisSharedState({ client, key, clock });
  const breaker = new CircuitBreaker({ name: 'api', failureThreshold: 1, shared, clock });
  await vi.waitFor(() => expect(shared.stats().available).toBe(true), { timeout: 10_000 });
  breaker.tryAcquire()?.failure();
  await vi.waitFor(async () => expect(await redis.hexists(key, 'api')).toBe(1), { timeout: 10_000 });
  // Its answer came before that one; now it is known here too.
  await clock.advance(0);
  clock.jump(60_000);
  return { client, clock, shared, breaker };
}

const holder = async () => (await redis.hget(key, 'api'))?.split(' ')[5];

test('a lease that is being asked for is handed back by close()', async () => {
  const { client, clock, shared, breaker } = await halfOpen();
  client.verb = 'lease';
  expect(breaker.tryAcquire()).toBeUndefined();
  await vi.waitFor(() => expect(client.held).toHaveLength(1), { timeout: 10_000 });
  expect(await holder()).not.toBe('-');
  let closed = false;
  const closing = shared.close().then(() => {
    closed = true;
  });
  // On its own from now on, also while it waits; what it does does not get in the way.
  const permit = breaker.tryAcquire();
  expect(permit).toBeDefined();
  permit?.failure();
  await clock.advance(0);
  expect(closed).toBe(false);
  client.held[0]?.();
  await closing;
  expect(await holder()).toBe('-');
  expect(client.asked.slice(-2)).toEqual(['lease', 'release']);
  expect(clock.pendingTimers).toBe(0);
});

test('close() waits no longer than commandTimeoutMs for a lease that is not answered', async () => {
  const { client, clock, shared, breaker } = await halfOpen();
  client.verb = 'lease';
  expect(breaker.tryAcquire()).toBeUndefined();
  await vi.waitFor(() => expect(client.held).toHaveLength(1), { timeout: 10_000 });
  const closing = shared.close();
  await clock.advance(500);
  await closing;
  expect(client.asked.at(-1)).toBe('lease');
});

test('a sync that is answered after close() does not make it share again', async () => {
  const { client, clock, shared, breaker } = await halfOpen();
  client.verb = 'sync';
  await clock.advance(250);
  await vi.waitFor(() => expect(client.held.length).toBeGreaterThan(0), { timeout: 10_000 });
  await shared.close();
  for (const answer of client.held) answer();
  await clock.advance(0);
  expect(shared.stats().available).toBe(false);
  expect(breaker.tryAcquire()).toBeDefined();
  expect(client.asked.at(-1)).toBe('sync');
});
