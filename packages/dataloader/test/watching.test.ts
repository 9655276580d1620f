import { AsyncLocalStorage } from 'node:async_hooks';
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type BatchEvent, Batcher, channelNames, createLoaders, DataLoader, type JoinEvent } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { afterEach, describe, expect, it } from 'vitest';

const subscriptions: (() => void)[] = [];

function listen<Message>(name: string, onMessage: (message: Message) => void): void {
  const fn = (message: unknown) => onMessage(message as Message);
  subscribe(name, fn);
  subscriptions.push(() => unsubscribe(name, fn));
}

afterEach(() => {
  for (const stop of subscriptions.splice(0)) stop();
});

describe('onBatch', () => {
  it('tells of each batch how large it was, how long it waited and ran, and what became of it', async () => {
    const clock = new ManualClock();
    const events: BatchEvent[] = [];
    const loader = new DataLoader<number, number>(
      async (keys) => {
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 7));
        if (keys.includes(0)) throw new RangeError('zero');
        return keys;
      },
      {
        name: 'numbers',
        schedule: { windowMs: 5 },
        partition: (key) => key % 2,
        clock,
        onBatch: (e) => events.push(e),
      },
    );
    const loads = Promise.allSettled([1, 3, 0].map((key) => loader.load(key)));
    await clock.advance(5);
    expect(events).toEqual([]);
    await clock.advance(7);
    await loads;
    const same = { kind: 'load', name: 'numbers', waitMs: 5, runMs: 7 };
    expect(events).toEqual([
      { ...same, partition: 1, size: 2, outcome: 'success', error: undefined },
      { ...same, partition: 0, size: 1, outcome: 'failure', error: new RangeError('zero') },
    ]);
    expect(loader.stats()).toMatchObject({ batches: 2, largestBatch: 2, batchFailures: 1, queueWaitMs: 10 });
  });

  it('tells an abort from a failure, and a time-out is a failure', async () => {
    const clock = new ManualClock();
    const outcomes: unknown[] = [];
    const loader = new DataLoader<number, number>(() => new Promise(() => {}), {
      batchTimeoutMs: 50,
      clock,
      onBatch: ({ outcome, error }) => outcomes.push([outcome, (error as { code?: string } | undefined)?.code]),
    });
    const controller = new AbortController();
    const aborted = loader.load(1, { signal: controller.signal });
    await clock.advance(0);
    controller.abort('left');
    await expect(aborted).rejects.toBe('left');
    const late = loader.load(2);
    await clock.advance(0);
    void clock.advance(50);
    await expect(late).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(outcomes).toEqual([
      ['aborted', undefined],
      ['failure', 'ERR_TIMEOUT'],
    ]);
    expect(loader.stats().batchFailures).toBe(1);
  });

  it('may throw without harm', async () => {
    const broken = () => {
      throw new Error('a listener');
    };
    const loader = new DataLoader<number, number>(async (keys) => keys, { onBatch: broken });
    await expect(loader.load(1)).resolves.toBe(1);
    const batcher = new Batcher<number, number>(async (items) => items, { onBatch: broken });
    const write = batcher.submit(1);
    await batcher.close();
    await expect(write).resolves.toBe(1);
  });

  it('is told of the batches of a Batcher too', async () => {
    const clock = new ManualClock();
    const events: BatchEvent[] = [];
    const batcher = new Batcher<number>(
      async (items) => {
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 3));
        if (items.includes(0)) throw new RangeError('zero');
      },
      { name: 'log', maxBatchSize: 2, clock, onBatch: (event) => events.push(event) },
    );
    const writes = Promise.allSettled([1, 2, 0].map((item) => batcher.submit(item)));
    void batcher.flush();
    await clock.advance(6);
    await writes;
    const same = { kind: 'write', name: 'log', partition: undefined, runMs: 3 };
    expect(events).toMatchObject([
      { ...same, size: 2, outcome: 'success', error: undefined },
      { ...same, size: 1, outcome: 'failure', error: new RangeError('zero') },
    ]);
  });
});

describe('the diagnostics channels', () => {
  it('let one span for each batch be linked to those of its callers, and be the parent of what the batch does', async () => {
    const span = new AsyncLocalStorage<string>();
    const links = new Map<BatchEvent, (string | undefined)[]>();
    const ended: { event: BatchEvent; links: (string | undefined)[] | undefined }[] = [];
    listen<JoinEvent>(channelNames.join, ({ batch }) => {
      links.set(batch, [...(links.get(batch) ?? []), span.getStore()]);
    });
    channel(channelNames.batchStart).bindStore(span, (event) => `batch of ${(event as BatchEvent).size}`);
    subscriptions.push(() => channel(channelNames.batchStart).unbindStore(span));
    listen<BatchEvent>(channelNames.batchEnd, (event) => ended.push({ event, links: links.get(event) }));
    const parents: (string | undefined)[] = [];
    const loaders = createLoaders(() => ({
      users: new DataLoader<string, string>(
        async (keys) => {
          parents.push(span.getStore());
          return keys;
        },
        { name: 'users', schedule: 'immediate' },
      ),
    }));
    const view = loaders.for({});
    await Promise.all([
      span.run('call a', () => view.users.load('1')),
      span.run('call b', () => loaders.for({}).users.load('2')),
      span.run('call c', () => view.users.load('1')),
    ]);
    expect(parents).toEqual(['batch of 2']);
    expect(ended).toMatchObject([
      {
        event: { kind: 'load', name: 'users', size: 2, outcome: 'success' },
        links: ['call a', 'call b', 'call c'],
      },
    ]);
    // A hit on what has settled waits for no batch and is linked to none.
    await view.users.load('1');
    expect(links.size).toBe(1);
  });

  it('do the same for a Batcher', async () => {
    const span = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    listen<JoinEvent>(channelNames.join, ({ key, batch }) => seen.push(['join', key, span.getStore(), batch.size]));
    listen<BatchEvent>(channelNames.batchStart, ({ size }) => seen.push(['start', size]));
    listen<BatchEvent>(channelNames.batchEnd, ({ outcome }) => seen.push(['end', outcome]));
    const batcher = new Batcher<string>(async () => {});
    const writes = [span.run('a', () => batcher.submit('x')), span.run('b', () => batcher.submit('y'))];
    await batcher.close();
    await Promise.all(writes);
    expect(seen).toEqual([
      ['join', 'x', 'a', 2],
      ['join', 'y', 'b', 2],
      ['start', 2],
      ['end', 'success'],
    ]);
  });

  it('hear nothing of a batch that began before anybody listened, and break nothing by it', async () => {
    let release = () => {};
    const loader = new DataLoader<number, number>(async (keys) => {
      await new Promise<void>((resolve) => (release = resolve));
      return keys;
    });
    const load = loader.load(1);
    await new Promise((resolve) => setImmediate(resolve));
    const ended: BatchEvent[] = [];
    listen<BatchEvent>(channelNames.batchEnd, (event) => ended.push(event));
    release();
    await expect(load).resolves.toBe(1);
    expect(ended).toEqual([]);
  });
});
