import { getEventListeners } from 'node:events';
import { BackpressureQueue, ClientThrottle, ConcurrencyLimiter, mapLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

// Each call put a listener of its own on its signal: the eleventh of one request made Node warn of a leak, and ten thousand took seconds,
// since Node looks through all listeners for each one that is added or removed.

const listenersOf = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const calls: [string, (signal: AbortSignal) => Promise<unknown>[]][] = [
  [
    'calls that wait and run',
    (signal) => {
      const limiter = new ConcurrencyLimiter({ limit: 10 });
      return Array.from({ length: 20 }, () => limiter.run(() => turn(), { signal, timeoutMs: 1_000 }));
    },
  ],
  [
    'permits',
    (signal) => {
      const limiter = new ConcurrencyLimiter({ limit: 1 });
      const held = limiter.tryAcquire();
      setImmediate(() => held?.release());
      return Array.from({ length: 20 }, () => limiter.acquire({ signal }).then((permit) => permit.release()));
    },
  ],
  [
    'consumers',
    (signal) => {
      const queue = new BackpressureQueue<number>();
      for (let n = 0; n < 20; n++) setImmediate(() => queue.enqueue(n));
      return Array.from({ length: 20 }, () => queue.dequeue({ signal }));
    },
  ],
  [
    'producers',
    (signal) => {
      const queue = new BackpressureQueue<number>({ maxSize: 1 });
      void queue.enqueue(-1);
      for (let n = 0; n < 20; n++) setImmediate(() => queue.dequeue());
      return Array.from({ length: 20 }, (_, n) => queue.enqueue(n, { signal }));
    },
  ],
  ['fan-outs', (signal) => Array.from({ length: 20 }, () => mapLimit([1, 2], 1, () => turn(), { signal }))],
  [
    'calls of a dependency',
    (signal) => {
      const throttle = new ClientThrottle({ random: () => 0.999 });
      return Array.from({ length: 20 }, () => throttle.run(() => turn(), { signal }));
    },
  ],
];

test.each(calls)('%s put one listener on a signal however many they are, and leave none', async (_what, make) => {
  const { signal } = new AbortController();
  const made = make(signal);
  await Promise.resolve();
  expect(listenersOf(signal)).toBe(1);
  await Promise.all(made);
  expect(listenersOf(signal)).toBe(0);
});

test.each(calls)('%s are all told when it aborts', async (_what, make) => {
  const controller = new AbortController();
  const made = Promise.allSettled(make(controller.signal));
  await Promise.resolve();
  const reason = new Error('gone');
  controller.abort(reason);
  expect(listenersOf(controller.signal)).toBe(0);
  const outcomes = await made;
  expect(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason)).toEqual(Array(20).fill(reason));
});

test('the signal that a fan-out hands to all its calls bears as many listeners as they add', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  const listening = new Promise<void>((resolve) => setImmediate(resolve));
  await mapLimit(Array(20).keys(), 20, (_item, { signal }) => {
    signal.addEventListener('abort', () => {});
    return listening;
  });
  await turn();
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
