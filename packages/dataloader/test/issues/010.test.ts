import { getEventListeners } from 'node:events';
import { Batcher, DataLoader } from '@x/dataloader';
import { describe, expect, it } from 'vitest';

// A tool that loaded many keys with its request's signal put a listener on it for each: Node warned of a leak at the eleventh, and
// took time in proportion to the square of their number (20,000 loads: 2.4 s).
const KEYS = Array.from({ length: 50 }, (_, i) => i);

function requestSignal() {
  const controller = new AbortController();
  return { controller, listeners: () => getEventListeners(controller.signal, 'abort').length };
}

describe('many who wait with one signal', () => {
  it('put one listener on it, which goes with the last of them', async () => {
    const { controller, listeners } = requestSignal();
    const { signal } = controller;
    const loader = new DataLoader<number, number>(async (keys) => keys);
    const other = new DataLoader<number, number>(async (keys) => keys, { schedule: 'immediate' });
    const loads = loader.loadMany(KEYS, { signal });
    const later = other.load(1, { signal });
    expect(listeners()).toBe(1);
    expect(await loads).toEqual(KEYS);
    expect(listeners()).toBe(1);
    await later;
    expect(listeners()).toBe(0);
    expect(await loader.load(1, { signal })).toBe(1);
    expect(listeners()).toBe(0);
  });

  it('are all told when it aborts, each by its own loader or batcher', async () => {
    const { controller, listeners } = requestSignal();
    const { signal } = controller;
    const signals: AbortSignal[] = [];
    const loader = new DataLoader<number, number>((_keys, context) => {
      signals.push(context.signal);
      return new Promise(() => {});
    });
    const batcher = new Batcher<number>(() => new Promise(() => {}), { maxBatchSize: 1, maxQueued: 50 });
    const left = loader.loadMany(KEYS, { signal });
    const writes = KEYS.map((item) => batcher.submit(item, { signal }));
    await new Promise((resolve) => setImmediate(resolve));
    const more = [batcher.submit(50, { signal }), batcher.submit(51, { signal })];
    const room = batcher.onRoom({ signal });
    expect(listeners()).toBe(1);
    controller.abort('left');
    expect(await left).toEqual(KEYS.map(() => 'left'));
    for (const { status } of await Promise.allSettled([...writes, ...more, room])) expect(status).toBe('rejected');
    expect(signals.map((one) => one.reason)).toEqual(['left']);
    expect(batcher.stats()).toMatchObject({ queued: 0, waiting: 0 });
    expect(listeners()).toBe(0);
  });
});
