import { randomBytes } from 'node:crypto';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { expect, test, vi } from 'vitest';

// The probe that finds Redis again told it what the caller of the first call that failed had used by then: after an outage, however long,
// that caller had no more than was left before it.

test('an outage takes nothing from the caller in whose name Redis is looked for', async () => {
  await using service = await startRedis();
  const client = new Redis(service.url);
  const clock = new ManualClock();
  let isDown = false;
  const sometimesDown = {
    status: 'ready',
    call: (command: string, ...args: (string | number)[]) =>
      isDown ? Promise.reject(new Error('READONLY')) : client.call(command, ...args),
  };
  const rate = new RedisRateLimiter({
    client: sometimesDown,
    limit: 4,
    intervalMs: 1e9,
    prefix: `issue-${process.pid}:`,
    commandTimeoutMs: 1e12,
    retryAfterMs: 1_000,
    onUnavailable: 'allow',
    clock,
  });
  expect(await rate.consume('a', { cost: 3 })).toMatchObject({ remaining: 1 });
  isDown = true;
  expect(await rate.consume('a')).toMatchObject({ decidedBy: 'allow' });
  // All of it has come back, here and in Redis.
  clock.jump(2e9);
  for (const key of await client.keys(`issue-${process.pid}:*`)) await client.del(key);
  isDown = false;
  await clock.advance(0);
  await vi.waitFor(() => expect(rate.stats().available).toBe(true));
  expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 3, decidedBy: 'redis' });
  await rate.close();
  client.disconnect();
});

// A secret of the wrong kind, bytes most likely, stood in the error as it was.

test('a secret that is no string is not shown', () => {
  const secret = randomBytes(12).toString('hex');
  for (const wrong of [Buffer.from(secret), { toString: () => secret }]) {
    const make = () =>
      new RedisRateLimiter({
        client: { status: 'ready', call: async () => '0' },
        limit: 1,
        intervalMs: 1,
        secret: wrong as never,
      });
    expect(make).toThrow(TypeError);
    expect(make).toThrow('@x/backpressure: secret must be a string, got ');
    expect(make).not.toThrow(secret);
  }
});
