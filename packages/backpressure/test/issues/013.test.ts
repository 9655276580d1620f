import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { RateLimiter } from '@x/backpressure';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { expect, test } from 'vitest';

// A key that was a part of a longer string, as an id out of a URL, kept all of that in memory: 10,000 keys 160 MB.

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Heap taken by 2,000 keys of 40 characters, each a part of a string of 16 KiB, in MB. */
async function megabytes(consume: (key: string) => unknown): Promise<number> {
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let n = 0; n < 2_000; n++) {
    const url = Buffer.from(String(n).padStart(40, 'k') + 'x'.repeat(16_384)).toString('latin1');
    await consume(url.slice(0, 40));
  }
  gc();
  return (process.memoryUsage().heapUsed - before) / 1e6;
}

test('RateLimiter keeps of a key no more than the key', async () => {
  const limiter = new RateLimiter({ limit: 1, intervalMs: 1e9 });
  expect(await megabytes((key) => limiter.tryConsume(key))).toBeLessThan(8);
  expect(limiter.stats().keys).toBe(2_000);
  expect(limiter.tryConsume(`${'k'.repeat(36)}1999`).allowed).toBe(false);
  const lone = 'user-\ud800';
  expect([lone, lone, 'user-\ud801'].map((key) => limiter.tryConsume(key).allowed)).toEqual([true, false, true]);
});

test('and so does RedisRateLimiter', async () => {
  const client = { status: 'end', call: () => Promise.reject(new Error('away')) };
  const limiter = new RedisRateLimiter({ client, limit: 1, intervalMs: 1e9 });
  expect(await megabytes((key) => limiter.consume(key))).toBeLessThan(8);
  await limiter.close();
});
