import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BackpressureQueue, ConcurrencyLimiter } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

// The last work that had waited for a permit was kept, with all that it held, until other work waited.

describe('what has waited is not kept', () => {
  test.each<[string, (limiter: ConcurrencyLimiter, big: object) => Promise<unknown>]>([
    ['its work', (limiter, big) => limiter.run(() => big.toString())],
    [
      'its signal',
      (limiter, big) => {
        const { signal } = new AbortController();
        return limiter.run(() => {}, { signal: Object.assign(signal, { big }) });
      },
    ],
    [
      'the reason of its abort',
      (limiter, big) => {
        const controller = new AbortController();
        const run = limiter.run(() => {}, { signal: controller.signal });
        controller.abort(big);
        return run;
      },
    ],
  ])('%s', async (_what, call) => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const use = async (): Promise<WeakRef<object>> => {
      const big = { size: 1 };
      await Promise.allSettled([limiter.run(turn), call(limiter, big)]);
      return new WeakRef(big);
    };
    const kept = await use();
    for (let n = 0; n < 5; n++) {
      await turn();
      gc();
    }
    expect(kept.deref()).toBeUndefined();
  });
});

// For each one that had waited too long all callers were looked at: sixty thousand at once stopped the process for half a minute.

test('sixty thousand callers whose time is up at once are told before the test is over', async () => {
  const clock = new ManualClock();
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 200_000, queueTimeoutMs: 100, clock });
  const held = limiter.tryAcquire();
  const ask = (n: number) => limiter.run(() => {}, { key: `${n}` }).catch((error) => error.reason);
  const early = Array.from({ length: 60_000 }, (_, n) => ask(n));
  await clock.advance(99);
  const late = [ask(7), ask(150_000)];
  await clock.advance(1);
  expect(new Set(await Promise.all(early))).toEqual(new Set(['queue_timeout']));
  expect(limiter.stats()).toMatchObject({ queued: 2, rejected: { queue_timeout: 60_000 } });
  held?.release();
  expect(await Promise.all(late)).toEqual([undefined, undefined]);
  expect(clock.pendingTimers).toBe(0);
});

// A loop over a queue took an item that was a promise which rejects for the end of the queue: the item was lost and the loop over.

test('a loop gives items as they are, also promises, and ends when the queue does', async () => {
  const rejected = Promise.reject(new Error('an item'));
  rejected.catch(() => {});
  for (const early of [true, false]) {
    const queue = new BackpressureQueue<unknown>();
    const taken: unknown[] = [];
    const loop = async (): Promise<void> => {
      for await (const item of queue) taken.push(item);
    };
    const looping = early ? loop() : undefined;
    for (const item of [rejected, 'b']) await queue.enqueue(item);
    await queue.close();
    await (looping ?? loop());
    expect(taken).toEqual([rejected, 'b']);
    expect(taken[0]).toBe(rejected);
    expect(queue.stats()).toMatchObject({ size: 0, dequeued: 2 });
  }
});
