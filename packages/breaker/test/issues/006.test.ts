import { CircuitBreaker } from '@x/breaker';
import { RedisSharedState } from '@x/breaker/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';

// One circuit with a name that Redis gives back otherwise, or one too many, took sharing away from all the others.

let service: Awaited<ReturnType<typeof startRedis>>;
let client: Redis;
let shared: RedisSharedState[] = [];
const clock = new ManualClock();
const key = `breaker-test:${process.pid}:006`;

beforeAll(async () => {
  service = await startRedis();
  client = new Redis(service.url);
});
afterEach(async () => {
  for (const one of shared) await one.close();
  shared = [];
  await client.del(key);
});
afterAll(async () => {
  client?.disconnect();
  await service?.[Symbol.asyncDispose]();
});

async function join(): Promise<(name: string) => CircuitBreaker> {
  const state = new RedisSharedState({ client, key, clock, commandTimeoutMs: 30_000 });
  shared.push(state);
  const breakerOf = (name: string) => new CircuitBreaker({ name, shared: state, failureThreshold: 1, clock });
  breakerOf('first');
  await vi.waitFor(() => expect(state.stats().available).toBe(true));
  return breakerOf;
}

async function eventually(check: () => void | Promise<void>): Promise<void> {
  await vi.waitFor(
    async () => {
      await clock.advance(250);
      await check();
    },
    { timeout: 10_000, interval: 5 },
  );
}

test.each(['half a pair \ud800', 'nul \0 and\nline', '__proto__', '-', 'ünïcödé 🦆', ' '])(
  'the name %j is shared, and disturbs nobody',
  async (name) => {
    const [one, other] = [await join(), await join()];
    const breakers = [one(name), other(name)];
    breakers[0]?.tryAcquire()?.failure();
    await eventually(() => expect(breakers[1]?.state).toBe('open'));
    expect(shared.map((state) => state.stats())).toMatchObject([
      { available: true, failures: 0 },
      { available: true, failures: 0 },
    ]);
  },
);

test('where 10,000 circuits are kept, a further one is not shared, and the others stay', async () => {
  const kept = Date.now() + 600_000;
  const record = `1 o abc ${kept - 1_000} 1 - 0 ${kept}`;
  await client.hset(key, Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`host ${n}`, record])));
  const breakerOf = await join();
  const further = breakerOf('further');
  further.tryAcquire()?.failure();
  const known = breakerOf('host 5');
  await eventually(() => expect(known.state).toBe('open'));
  expect(await client.hlen(key)).toBe(10_000);
  expect(further.state).toBe('open');
  expect(shared[0]?.stats()).toMatchObject({ available: true, failures: 0 });
});

test('a shorter period that begins later does not shorten the one that is kept', async () => {
  const [one, other] = [await join(), await join()];
  const breaker = one('api');
  const hasty = new CircuitBreaker({
    name: 'api',
    shared: shared[1],
    failureThreshold: 1,
    recoveryTimeoutMs: 1_000,
    clock,
  });
  other('second');
  const openUntil = async () => Number((await client.hget(key, 'api'))?.split(' ')[3] ?? 0);
  breaker.tryAcquire()?.failure();
  await vi.waitFor(async () => expect(await openUntil()).toBeGreaterThan(0));
  const kept = await openUntil();
  hasty.tryAcquire()?.failure();
  await vi.waitFor(() => expect(hasty.retryAfterMs).toBeGreaterThan(1_000));
  expect(await openUntil()).toBe(kept);
});
