import { ConcurrencyLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';

// Where nobody waits too long (`queueTimeoutMs: Infinity`), all callers were looked at for each call that had to wait, for a timer that was not
// needed: sixty thousand callers stopped the process for half a minute.

test('sixty thousand callers who may wait for ever are all served before the test is over', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 100_000, queueTimeoutMs: Number.POSITIVE_INFINITY });
  const held = limiter.tryAcquire();
  const served: Promise<number>[] = [];
  for (let n = 0; n < 60_000; n++) served.push(limiter.run(() => n, { key: `${n}` }));
  await Promise.resolve();
  expect(limiter.stats().queued).toBe(60_000);
  held?.release();
  expect((await Promise.all(served)).at(-1)).toBe(59_999);
});
