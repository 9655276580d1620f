import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';

test('under random delays, no process finds a value older than the last invalidation', async () => {
  const service = await startRedis();
  const clients = Array.from({ length: 4 }, () => new Redis(service.url));
  const over = (client: Redis | undefined, staleIfErrorMs = 0) =>
    new Cache({
      remote: new RedisTier({ client: client as Redis, prefix: 'race:', commandTimeoutMs: 30_000 }),
      ttlMs: 60_000,
      // After `expire` and a failed load, stale-if-error may give what is older: not to those who look for it.
      staleIfErrorMs,
    });
  const processes = clients.slice(0, 3).map((client) => over(client, 60_000));
  const observer = clients[3];
  // With a failure of Redis the caches may be right to differ; without one they never are.
  const failures = () => `remote failures: ${processes.map((cache) => cache.stats().remoteFailures)}`;
  const random = (most: number) => Math.floor(Math.random() * most);
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  async function round(key: string): Promise<void> {
    let database = 0;
    let oldest = 0;
    const load = async () => {
      await sleep(random(4));
      const value = database;
      await sleep(random(8));
      if (random(8) === 0) throw new Error('the load failed');
      return value;
    };
    const readers = Array.from({ length: 12 }, async (_, n) => {
      await sleep(random(25));
      const least = n % 3 === 0 ? oldest : 0;
      // A process whose memory knows nothing of the key sees what Redis has.
      const reader = n % 3 === 0 ? over(observer) : processes[random(3)];
      const value = await reader?.getOrSet(key, load, { tags: ['all', key] }).catch(() => undefined);
      if (value !== undefined) expect(value, failures()).toBeGreaterThanOrEqual(least);
    });
    const writer = (async () => {
      for (let n = 0; n < 4; n++) {
        await sleep(random(8));
        const written = ++database;
        const cache = processes[random(3)] as Cache;
        const ways = [
          () => cache.delete(key),
          () => cache.expire(key),
          () => cache.deleteByTag(key),
          () => cache.deleteByPattern(`${key}*`),
          () => cache.set(key, written, { tags: [key] }),
        ];
        await ways[random(ways.length)]?.();
        oldest = written;
        expect(cache.peek(key) ?? written, failures()).toBeGreaterThanOrEqual(written);
        const found = await over(observer).get<number>(key);
        expect(found ?? written, failures()).toBeGreaterThanOrEqual(written);
      }
    })();
    await Promise.all([writer, ...readers]);
    expect((await over(observer).get<number>(key)) ?? oldest, failures()).toBeGreaterThanOrEqual(oldest);
  }

  try {
    await Promise.all(Array.from({ length: 60 }, (_, n) => round(`key ${n}`)));
    expect(processes.map((cache) => cache.stats().remoteFailures)).toEqual([0, 0, 0]);
  } finally {
    for (const client of clients) client.disconnect();
    await service[Symbol.asyncDispose]();
  }
});
