import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { expect, test } from 'vitest';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapMb(): number {
  collect();
  return process.memoryUsage().heapUsed / 1e6;
}

test('however many callers come, no more of them are remembered than maxKeys', async () => {
  const client = { status: 'ready', call: async () => '1' };
  const rate = new RedisRateLimiter({ client, limit: 10, intervalMs: 60_000, maxKeys: 100 });
  await rate.consume('warm');
  const before = heapMb();
  for (let n = 0; n < 30_000; n++) await rate.consume(`${'x'.repeat(200)}${n}`);
  // All of them would take about ten.
  expect(heapMb() - before).toBeLessThan(4);
  expect(rate.stats()).toMatchObject({ keys: 100, allowed: 30_001 });
});

test.each<[string, (n: number) => string]>([
  ['very long', (n) => `${'x'.repeat(10_000)}${n}`],
  ['parts of long texts', (n) => `${'x'.repeat(10_000)}, caller ${1_000_000 + n}`.slice(10_002)],
])('keys that are %s are not kept whole', async (_what, keyOf) => {
  const client = { status: 'ready', call: async () => '1' };
  const rate = new RedisRateLimiter({ client, limit: 10, intervalMs: 60_000 });
  await rate.consume('warm');
  const before = heapMb();
  for (let n = 0; n < 2_000; n++) await rate.consume(keyOf(n));
  // All of them would take twenty.
  expect(heapMb() - before).toBeLessThan(4);
  expect(rate.stats().keys).toBe(2_001);
});
