import { CircuitBreaker } from '@x/breaker';
import { RedisSharedState } from '@x/breaker/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { expect, test, vi } from 'vitest';

// A record with more openings than any circuit comes to was believed, and let a growing open period begin at its longest.

test.each([
  { openings: 1_000_000, state: 'open', kept: 1 },
  { openings: 1_000_001, state: 'closed', kept: 0 },
])('a record of $openings openings is taken as $state', async ({ openings, state, kept }) => {
  await using service = await startRedis();
  const client = new Redis(service.url);
  const key = `breaker-test:${process.pid}:008`;
  const clock = new ManualClock();
  const shared = new RedisSharedState({ client, key, clock, commandTimeoutMs: 30_000 });
  try {
    const now = Date.now();
    await client.hset(key, 'api', `1 o abc ${now + 60_000} ${openings} - 0 ${now + 660_000}`);
    const breaker = new CircuitBreaker({ name: 'api', shared, clock });
    await vi.waitFor(() => expect(shared.stats().available).toBe(true), { timeout: 10_000 });
    await clock.advance(0);
    expect(breaker.state).toBe(state);
    expect(breaker.toJSON().openings).toBe(kept * openings);
    expect(await client.hexists(key, 'api')).toBe(kept);
  } finally {
    await shared.close();
    await client.del(key);
    client.disconnect();
  }
});
