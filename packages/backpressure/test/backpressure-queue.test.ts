import { getEventListeners } from 'node:events';
import { BackpressureQueue } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

function setUp(maxSize = 2) {
  const clock = new ManualClock();
  return { clock, queue: new BackpressureQueue<number>({ maxSize, clock }) };
}

describe('a queue with backpressure', () => {
  test('gives items in order, to those who wait first', async () => {
    const { queue } = setUp(10);
    const early = [queue.dequeue(), queue.dequeue()];
    for (let n = 0; n < 4; n++) expect(await queue.enqueue(n)).toBe(true);
    expect(await Promise.all(early)).toEqual([0, 1]);
    expect([await queue.dequeue(), await queue.dequeue()]).toEqual([2, 3]);
    expect(queue.stats()).toEqual({ size: 0, maxSize: 10, enqueued: 4, dequeued: 4, rejected: 0, healthy: true });
  });

  test('says false when there was no room in time, and counts it', async () => {
    const { queue, clock } = setUp(1);
    await queue.enqueue(1);
    const late = queue.enqueue(2);
    await clock.advance(999);
    expect(queue.rejectedCount).toBe(0);
    await clock.advance(1);
    expect(await late).toBe(false);
    expect(await queue.enqueue(3, { timeoutMs: 0 })).toBe(false);
    expect(queue.rejectedCount).toBe(2);
    expect(queue.size).toBe(1);
    expect(await queue.dequeue()).toBe(1);
    expect(queue.size).toBe(0);
  });

  test('lets a waiting producer in as soon as there is room, in order', async () => {
    const { queue, clock } = setUp(1);
    await queue.enqueue(1);
    const waiting = [queue.enqueue(2), queue.enqueue(3)];
    expect(await queue.dequeue()).toBe(1);
    expect(await waiting[0]).toBe(true);
    expect(await queue.dequeue()).toBe(2);
    expect(await waiting[1]).toBe(true);
    expect(await queue.dequeue()).toBe(3);
    expect(clock.pendingTimers).toBe(0);
  });

  test('waits without a bound where told to', async () => {
    const { queue, clock } = setUp(1);
    await queue.enqueue(1);
    const patient = queue.enqueue(2, { timeoutMs: Number.POSITIVE_INFINITY });
    await clock.advance(1e9);
    expect(await queue.dequeue()).toBe(1);
    expect(await patient).toBe(true);
  });

  test('is healthy below 80 per cent', async () => {
    const { queue } = setUp(5);
    for (let n = 0; n < 3; n++) await queue.enqueue(n);
    expect(queue.isHealthy()).toBe(true);
    await queue.enqueue(3);
    expect(queue.isHealthy()).toBe(false);
    expect(queue.stats().healthy).toBe(false);
  });

  test('an aborted producer leaves nothing in, an aborted consumer takes nothing out', async () => {
    const { queue, clock } = setUp(1);
    await queue.enqueue(1);
    const producer = new AbortController();
    const refused = queue.enqueue(2, { signal: producer.signal });
    producer.abort(new Error('gone'));
    await expect(refused).rejects.toThrow('gone');
    expect(queue.rejectedCount).toBe(0);
    expect(await queue.dequeue()).toBe(1);
    const consumer = new AbortController();
    const taken = queue.dequeue({ signal: consumer.signal });
    consumer.abort(new Error('gone'));
    await expect(taken).rejects.toThrow('gone');
    await queue.enqueue(3);
    expect(await queue.dequeue()).toBe(3);
    await expect(queue.dequeue({ signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before');
    await expect(queue.enqueue(4, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before');
    expect(queue.size).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  });

  test('an abort just after the item was handed over comes too late, and the item is not lost', async () => {
    const { queue } = setUp(1);
    const controller = new AbortController();
    const taken = queue.dequeue({ signal: controller.signal });
    const put = queue.enqueue(1);
    controller.abort(new Error('gone'));
    expect(await put).toBe(true);
    expect(await taken).toBe(1);
  });

  test('undefined is an item like any other', async () => {
    const queue = new BackpressureQueue<undefined>();
    await queue.enqueue(undefined);
    expect(queue.size).toBe(1);
    expect(await queue.dequeue()).toBeUndefined();
    expect(queue.size).toBe(0);
  });

  test('many loops share the items and end when the queue is closed and empty', async () => {
    const { queue } = setUp(3);
    const seen: number[] = [];
    const consumers = Array.from({ length: 4 }, async () => {
      for await (const item of queue) {
        seen.push(item);
        await Promise.resolve();
      }
    });
    for (let n = 0; n < 100; n++) expect(await queue.enqueue(n)).toBe(true);
    await queue.close();
    await Promise.all(consumers);
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, n) => n));
  });

  test('a loop that is left while it waits takes no item with it', async () => {
    const { queue } = setUp();
    const iterator = queue[Symbol.asyncIterator]();
    const pending = iterator.next();
    await iterator.return?.();
    expect(await pending).toEqual({ done: true, value: undefined });
    await queue.enqueue(1);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    expect(await queue.dequeue()).toBe(1);
  });

  test('close tells producers and consumers who wait, and what is in can still be taken', async () => {
    const { queue, clock } = setUp(1);
    await queue.enqueue(1);
    const waiting = queue.enqueue(2);
    await queue.close();
    expect(await waiting).toBe(false);
    expect(await queue.enqueue(3)).toBe(false);
    expect(queue.rejectedCount).toBe(2);
    expect(await queue.dequeue()).toBe(1);
    await expect(queue.dequeue()).rejects.toMatchObject({ code: 'ERR_OVERLOADED', reason: 'draining' });

    const empty = setUp().queue;
    const { signal } = new AbortController();
    const consumer = empty.dequeue({ signal });
    await empty.close();
    await expect(consumer).rejects.toMatchObject({ code: 'ERR_OVERLOADED', reason: 'draining' });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });

  test('bad options are refused', async () => {
    expect(() => new BackpressureQueue({ maxSize: 0 })).toThrow('maxSize must be an integer >= 1, got 0');
    expect(() => new BackpressureQueue({ healthyBelow: 2 })).toThrow(
      'healthyBelow must be a number from 0 to 1, got 2',
    );
    await expect(setUp().queue.enqueue(1, { timeoutMs: -1 })).rejects.toThrow(RangeError);
  });
});
