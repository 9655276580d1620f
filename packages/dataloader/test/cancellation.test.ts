import { getEventListeners } from 'node:events';
import { DataLoader, type DataLoaderOptions } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

function held(options: DataLoaderOptions<number, number> = {}) {
  const calls: { keys: readonly number[]; signal: AbortSignal; release: () => void }[] = [];
  const loader = new DataLoader<number, number>(
    (keys, { signal }) => new Promise((resolve) => calls.push({ keys, signal, release: () => resolve(keys) })),
    options,
  );
  return { loader, calls };
}

describe.each([
  ['with its own cache', {}],
  ['with a cacheMap', { cacheMap: new Map<number, Promise<number>>() }],
  ['without a cache', { cache: false }],
] as [string, DataLoaderOptions<number, number>][])('a load with a signal, %s', (_name, options) => {
  it('rejects its own caller at once, and no other', async () => {
    const { loader, calls } = held(options);
    loader.clearAll();
    const controller = new AbortController();
    const leaving = loader.load(1, { signal: controller.signal });
    const staying = loader.load(2);
    await turn();
    controller.abort('bored');
    await expect(leaving).rejects.toBe('bored');
    expect(calls[0]?.signal.aborted).toBe(false);
    calls[0]?.release();
    await expect(staying).resolves.toBe(2);
  });

  it('aborts the batch when its last waiter has gone, keeps nothing of it, and a later load starts anew', async () => {
    const { loader, calls } = held(options);
    loader.clearAll();
    const [first, second] = [new AbortController(), new AbortController()];
    const leaving = [loader.load(1, { signal: first.signal }), loader.load(2, { signal: second.signal })];
    await turn();
    first.abort('one');
    expect(calls[0]?.signal.aborted).toBe(false);
    second.abort('two');
    expect(calls[0]?.signal.aborted).toBe(true);
    const late = loader.load(1);
    expect(await Promise.allSettled(leaving)).toMatchObject([{ reason: 'one' }, { reason: 'two' }]);
    await turn();
    expect(calls).toHaveLength(2);
    calls[0]?.release();
    calls[1]?.release();
    await expect(late).resolves.toBe(1);
    expect(loader.stats().batchFailures).toBe(0);
  });

  it('that is aborted already runs nothing', async () => {
    const { loader, calls } = held(options);
    loader.clearAll();
    await expect(loader.load(1, { signal: AbortSignal.abort('no') })).rejects.toBe('no');
    await turn();
    expect(calls).toEqual([]);
    expect(loader.stats().loads).toBe(0);
  });

  it('whose callers all leave before the batch starts asks for nothing', async () => {
    const { loader, calls } = held({ ...options, schedule: 'immediate' });
    loader.clearAll();
    const controller = new AbortController();
    const leaving = loader.load(1, { signal: controller.signal });
    controller.abort('gone');
    await expect(leaving).rejects.toBe('gone');
    await turn();
    await turn();
    expect(calls).toEqual([]);
    expect(loader.stats().queuedKeys).toBe(0);
  });
});

describe('a waiter that joined through the cache', () => {
  it.each([{}, { cacheMap: new Map<number, Promise<number>>() }, { orderedHits: false }])(
    'keeps the batch alive: %j',
    async (options) => {
      const { loader, calls } = held(options);
      const controller = new AbortController();
      const leaving = loader.load(1, { signal: controller.signal });
      await turn();
      const staying = loader.load(1);
      controller.abort('gone');
      await expect(leaving).rejects.toBe('gone');
      expect(calls[0]?.signal.aborted).toBe(false);
      calls[0]?.release();
      await expect(staying).resolves.toBe(1);
    },
  );
});

describe('an abort after the result', () => {
  it('changes nothing and leaves no listener behind', async () => {
    const loader = new DataLoader<number, number>(async (keys) => keys);
    const controller = new AbortController();
    await loader.load(1, { signal: controller.signal });
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    controller.abort();
    await expect(loader.load(1)).resolves.toBe(1);
  });
});

describe('batchTimeoutMs', () => {
  it('aborts the batch, tells its callers at once, and keeps nothing', async () => {
    const clock = new ManualClock();
    const { loader, calls } = held({ batchTimeoutMs: 50, name: 'users', clock });
    const loads = Promise.allSettled([loader.load(1), loader.load(2)]);
    await clock.advance(49);
    expect(calls[0]?.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(await loads).toMatchObject([
      { reason: { code: 'ERR_TIMEOUT' } },
      { reason: { message: expect.stringContaining('"users"') } },
    ]);
    expect(calls[0]?.signal.reason).toMatchObject({ code: 'ERR_TIMEOUT' });
    const again = loader.load(1);
    await clock.advance(0);
    calls[0]?.release();
    calls[1]?.release();
    await expect(again).resolves.toBe(1);
    expect(clock.pendingTimers).toBe(0);
  });

  it("is over for a batch whose callers have all gone: an abort is nobody's failure", async () => {
    const clock = new ManualClock();
    const { loader, calls } = held({ batchTimeoutMs: 50, clock });
    const [first, second] = [new AbortController(), new AbortController()];
    const gone = loader.load(1, { signal: first.signal });
    await clock.advance(10);
    first.abort('gone');
    await expect(gone).rejects.toBe('gone');
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(100);
    expect(calls[0]?.signal.reason).toBe('gone');
    expect(loader.stats().batchFailures).toBe(0);
    // And the loader still sees who waits for what: one who joins without a signal keeps the batch alive.
    const leaving = loader.load(2, { signal: second.signal });
    await clock.advance(10);
    const staying = loader.load(2);
    second.abort('too');
    await expect(leaving).rejects.toBe('too');
    expect(calls[1]?.signal.aborted).toBe(false);
    calls[1]?.release();
    await expect(staying).resolves.toBe(2);
  });

  it('does not call a batch late that an unfaithful clock fires for after its callers have gone', async () => {
    const timers: (() => void)[] = [];
    const clock = { now: () => 0, setTimeout: (fn: () => void) => timers.push(fn), clearTimeout: () => {} };
    const { loader } = held({ batchTimeoutMs: 50, clock });
    const controller = new AbortController();
    const gone = loader.load(1, { signal: controller.signal });
    await turn();
    controller.abort('gone');
    await expect(gone).rejects.toBe('gone');
    for (const fire of timers) fire();
    expect(loader.stats().batchFailures).toBe(0);
  });

  it('keeps the place of a batch that does not heed its signal until it has settled', async () => {
    const clock = new ManualClock();
    const { loader, calls } = held({ batchTimeoutMs: 50, maxConcurrentBatches: 1, clock });
    const first = loader.load(1).catch((error) => error.code);
    await clock.advance(50);
    expect(await first).toBe('ERR_TIMEOUT');
    const second = loader.load(2);
    await clock.advance(10);
    expect(calls).toHaveLength(1);
    calls[0]?.release();
    await turn();
    calls[1]?.release();
    await expect(second).resolves.toBe(2);
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
