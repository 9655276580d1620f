import { once } from 'node:events';
import { BackpressureQueue, ConcurrencyLimiter, LoadShedder } from '@x/backpressure';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { expect, test } from 'vitest';

// A time that is longer than a timer can be (24.8 days) became one millisecond, with a warning of Node's: `LoadShedder({ sampleMs: 1e308 })`
// looked a thousand times a second, and `RedisRateLimiter({ commandTimeoutMs: 1e308 })` found Redis away at once.

test('a time too long for a timer is as long as a timer can be', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const long = 1e308;
  let samples = 0;
  await using _shedder = new LoadShedder({ sampleMs: long, pressure: () => samples++ });
  const limiter = new ConcurrencyLimiter({ limit: 1, queueTimeoutMs: long });
  const permit = limiter.tryAcquire();
  const waiting = Promise.allSettled([limiter.acquire(), limiter.acquire({ deadlineMs: long })]);
  const closing = limiter.close({ timeoutMs: long });
  const running = new ConcurrencyLimiter({ limit: 1 }).run(() => once(process, 'x/never'), { timeoutMs: long });
  const queue = new BackpressureQueue<number>({ maxSize: 1 });
  await queue.enqueue(1);
  const second = queue.enqueue(2, { timeoutMs: long });
  let answer = (_: unknown): void => {};
  const client = {
    status: 'ready',
    call: () =>
      new Promise((resolve, reject) => {
        answer = resolve;
        if (calls++ > 0) reject(new Error('away'));
      }),
  };
  let calls = 0;
  const redis = new RedisRateLimiter({
    client,
    limit: 1,
    intervalMs: 1e9,
    commandTimeoutMs: long,
    retryAfterMs: long,
    onUnavailable: 'deny',
  });
  const asked = redis.consume('a');
  await new Promise((resolve) => setTimeout(resolve, 20));
  answer('0');
  expect((await asked).decidedBy).toBe('redis');
  expect((await redis.consume('b')).decidedBy).toBe('deny');
  await new Promise((resolve) => setTimeout(resolve, 20));

  expect(samples).toBe(0);
  expect(calls).toBe(2);
  expect(queue.rejectedCount).toBe(0);
  permit?.release();
  for (const one of await waiting) expect(one).toMatchObject({ reason: { reason: 'draining' } });
  await closing;
  process.emit('x/never' as never);
  await running;
  await queue.dequeue();
  expect(await second).toBe(true);
  await redis.close();
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
