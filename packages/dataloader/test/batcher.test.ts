import { AsyncLocalStorage } from 'node:async_hooks';
import { Batcher, type BatcherOptions } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

function recording(options: BatcherOptions<number> = {}) {
  const clock = new ManualClock();
  const batches: (readonly number[])[] = [];
  const batcher = new Batcher<number, string>(
    async (items) => {
      batches.push(items);
      return items.map((item) => (item < 0 ? new RangeError(`bad ${item}`) : `id${item}`));
    },
    { clock, ...options },
  );
  return { batcher, batches, clock };
}

function held(options: BatcherOptions<number> = {}) {
  const clock = new ManualClock();
  const calls: { items: readonly number[]; signal: AbortSignal; release: () => void; fail: (error: Error) => void }[] =
    [];
  const batcher = new Batcher<number>(
    (items, { signal }) =>
      new Promise((resolve, reject) => calls.push({ items, signal, release: resolve, fail: reject })),
    { clock, ...options },
  );
  return { batcher, calls, clock };
}

describe('Batcher', () => {
  it('writes what is submitted within the window together, with a result or an error for each item, in order', async () => {
    const { batcher, batches, clock } = recording({ windowMs: 10 });
    const writes = Promise.allSettled([1, -2, 3, 3].map((item) => batcher.submit(item)));
    await clock.advance(9);
    expect(batches).toEqual([]);
    expect(batcher.stats().queued).toBe(4);
    await clock.advance(1);
    expect(await writes).toMatchObject([
      { value: 'id1' },
      { reason: { message: 'bad -2' } },
      { value: 'id3' },
      { value: 'id3' },
    ]);
    expect(batches).toEqual([[1, -2, 3, 3]]);
    expect(batcher.stats()).toEqual({
      submitted: 4,
      written: 3,
      failed: 1,
      aborted: 0,
      batches: 1,
      largestBatch: 4,
      queued: 0,
      waiting: 0,
      runningBatches: 0,
    });
    expect(clock.pendingTimers).toBe(0);
  });

  it('writes a full batch at once, by count or by bytes', async () => {
    const count = recording({ maxBatchSize: 2 });
    await Promise.all([count.batcher.submit(1), count.batcher.submit(2)]);
    expect(count.batches).toEqual([[1, 2]]);
    const bytes = recording({ maxBatchBytes: 10, bytesOf: (item) => item });
    await Promise.all([4, 4, 4, 30, 10].map((item) => bytes.batcher.submit(item)));
    expect(bytes.batches).toEqual([[4, 4], [4], [30], [10]]);
  });

  it('writes one batch at a time, and gathers meanwhile', async () => {
    const { batcher, calls, clock } = held({ maxBatchSize: 3 });
    const writes = [1, 2, 3, 4].map((item) => batcher.submit(item));
    await clock.advance(100);
    writes.push(batcher.submit(5));
    await clock.advance(100);
    expect(calls.map(({ items }) => items)).toEqual([[1, 2, 3]]);
    calls[0]?.release();
    await clock.advance(0);
    expect(calls.map(({ items }) => items)).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
    calls[1]?.release();
    await Promise.all(writes);
  });

  it('refuses what the queue has no room for', async () => {
    const { batcher, calls } = held({ maxBatchSize: 1, maxQueued: 2 });
    const writes = [1, 2, 3].map((item) => batcher.submit(item));
    await expect(batcher.submit(4)).rejects.toMatchObject({ code: 'ERR_OVERLOADED', reason: 'queue_full' });
    for (let i = 0; i < 3; i += 1) {
      calls[i]?.release();
      await turn();
    }
    await Promise.all(writes);
    expect(calls.map(({ items }) => items[0])).toEqual([1, 2, 3]);
  });

  it("lets items wait for room with whenFull: 'wait', in order, and writes them on close too", async () => {
    const { batcher, calls } = held({ maxBatchSize: 2, maxQueued: 2, whenFull: 'wait' });
    const writes = [1, 2, 3, 4, 5, 6, 7].map((item) => batcher.submit(item));
    expect(batcher.stats()).toMatchObject({ submitted: 7, queued: 2, waiting: 3, runningBatches: 1 });
    const controller = new AbortController();
    const left = batcher.submit(8, { signal: controller.signal });
    controller.abort('left');
    await expect(left).rejects.toBe('left');
    const closed = batcher.close();
    for (let written = 0; written < 4; written += 1) {
      calls[written]?.release();
      await turn();
    }
    await closed;
    await Promise.all(writes);
    expect(calls.map(({ items }) => items)).toEqual([[1, 2], [3, 4], [5, 6], [7]]);
    expect(batcher.stats()).toMatchObject({ submitted: 8, written: 7, aborted: 1, queued: 0, waiting: 0 });
  });

  it('tells producers when there is room, as many as there is room for', async () => {
    const { batcher, calls } = held({ maxBatchSize: 2, maxQueued: 2 });
    const writes = [1, 2].map((item) => batcher.submit(item));
    await batcher.onRoom();
    writes.push(batcher.submit(3), batcher.submit(4));
    const told: number[] = [];
    const producers = [5, 6, 7].map(async (item) => {
      await batcher.onRoom();
      told.push(item);
      writes.push(batcher.submit(item));
    });
    const controller = new AbortController();
    const impatient = batcher.onRoom({ signal: controller.signal });
    controller.abort('enough');
    await expect(impatient).rejects.toBe('enough');
    await expect(batcher.onRoom({ signal: controller.signal })).rejects.toBe('enough');
    await turn();
    expect(told).toEqual([]);
    calls[0]?.release();
    await turn();
    expect(told).toEqual([5, 6]);
    const shut = batcher.onRoom();
    const closed = batcher.close();
    await expect(shut).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(producers[2]).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(batcher.onRoom()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    for (const at of [1, 2]) {
      calls[at]?.release();
      await turn();
    }
    await closed;
    await Promise.all(writes);
    expect(calls.map(({ items }) => items)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
  });

  it('gives the room that a producer was told of and has not taken to the next', async () => {
    const { batcher, calls } = held({ maxBatchSize: 1, maxQueued: 1 });
    const writes = [1, 2].map((item) => batcher.submit(item));
    const told: string[] = [];
    const producers = ['a', 'b'].map((name) => batcher.onRoom().then(() => told.push(name)));
    calls[0]?.release();
    await producers[0];
    expect(told).toEqual(['a']);
    await producers[1];
    expect(told).toEqual(['a', 'b']);
    calls[1]?.release();
    await Promise.all(writes);
  });

  it('refuses an item whose size cannot be told', async () => {
    const sizes: unknown[] = [Number.NaN, -1, 'x', Number.POSITIVE_INFINITY];
    const { batcher, batches } = recording({ maxBatchBytes: 10, bytesOf: (item) => sizes[item] as number });
    for (const at of sizes.keys()) await expect(batcher.submit(at)).rejects.toThrow(/bytesOf\(item\) must be/);
    await batcher.close();
    expect(batches).toEqual([]);
    expect(batcher.stats().submitted).toBe(0);
  });

  it('writes everything on close, and takes nothing after it', async () => {
    const { batcher, batches } = recording({ windowMs: 60_000, maxBatchSize: 2 });
    const writes = [1, 2, 3].map((item) => batcher.submit(item));
    await batcher.close();
    expect(await Promise.all(writes)).toEqual(['id1', 'id2', 'id3']);
    expect(batches).toEqual([[1, 2], [3]]);
    await expect(batcher.submit(4)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await batcher.close();
  });

  it('closes with `await using`, and within timeoutMs if the writes hang', async () => {
    const { batcher, calls, clock } = held();
    const write = batcher.submit(1);
    let closed = false;
    const closing = batcher.close({ timeoutMs: 500 }).then(() => (closed = true));
    await clock.advance(499);
    expect(closed).toBe(false);
    await clock.advance(1);
    await closing;
    calls[0]?.release();
    await write;
    const other = recording();
    const result = other.batcher.submit(1);
    await other.batcher[Symbol.asyncDispose]();
    await expect(result).resolves.toBe('id1');
  });

  it('leaves no timer behind that waited for it to close', async () => {
    const { batcher, calls, clock } = held({ maxBatchSize: 1 });
    const write = batcher.submit(1);
    const closing = batcher.close({ timeoutMs: 500 });
    calls[0]?.release();
    await Promise.all([write, closing]);
    expect(clock.pendingTimers).toBe(0);
  });

  it("calls the batch function in the context in which the batcher was made, not in its first caller's", async () => {
    const context = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const batcher = context.run(
      'the server',
      () => new Batcher<number>(async () => void seen.push(context.getStore()), { maxBatchSize: 1, windowMs: 1 }),
    );
    await context.run('alice', async () => {
      await batcher.submit(1);
      seen.push(context.getStore());
    });
    expect(seen).toEqual(['the server', 'alice']);
  });

  it('does not abort a batch that has ended, though its last caller leaves before they are told', async () => {
    const controller = new AbortController();
    let signal: AbortSignal | undefined;
    const batcher = new Batcher<number>(
      async (_items, context) => {
        signal = context.signal;
      },
      { maxBatchSize: 1, onBatch: () => controller.abort('left') },
    );
    await expect(batcher.submit(1, { signal: controller.signal })).rejects.toBe('left');
    expect(signal?.aborted).toBe(false);
    expect(batcher.stats()).toMatchObject({ written: 1, aborted: 0 });
  });

  it('flushes on request', async () => {
    const { batcher, batches } = recording({ windowMs: 60_000 });
    const write = batcher.submit(1);
    await batcher.flush();
    expect(batches).toEqual([[1]]);
    await write;
    await batcher.flush();
    await batcher.onIdle();
  });

  it('gives every caller of a batch that failed its error, and goes on', async () => {
    const { batcher, calls } = held({ maxBatchSize: 2 });
    const writes = Promise.allSettled([1, 2, 3, 4].map((item) => batcher.submit(item)));
    const boom = new Error('disk full');
    calls[0]?.fail(boom);
    await turn();
    calls[1]?.release();
    expect(await writes).toMatchObject([
      { reason: boom },
      { reason: boom },
      { status: 'fulfilled' },
      { status: 'fulfilled' },
    ]);
    expect(batcher.stats()).toMatchObject({ written: 2, failed: 2 });
  });

  it.each([
    [() => [1], /1 results for 2 items/],
    [() => 'ok', /array or nothing/],
    [
      () => {
        throw new Error('sync');
      },
      /sync/,
    ],
  ])('rejects all callers when the batch function breaks its contract', async (fn, message) => {
    const batcher = new Batcher<number>((async () => fn()) as never, { maxBatchSize: 2, name: 'audit' });
    const results = await Promise.allSettled([batcher.submit(1), batcher.submit(2)]);
    for (const result of results) expect((result as PromiseRejectedResult).reason.message).toMatch(message);
  });

  it('gives the batch function the very objects that were submitted, as they are, in a list that cannot be sorted', async () => {
    const batches: (readonly { id: number }[])[] = [];
    const batcher = new Batcher<{ id: number }>(
      async (items) => {
        batches.push(items);
      },
      { maxBatchSize: 2 },
    );
    const items = [{ id: 2 }, { id: 1 }];
    await Promise.all(items.map((item) => batcher.submit(item)));
    expect(batches[0]?.map((item, at) => item === items[at] && !Object.isFrozen(item))).toEqual([true, true]);
    // Results are told apart by position: a sort must fail before anything is written, not after.
    const sorting = new Batcher<number>(async (list) => void (list as number[]).sort(), { maxBatchSize: 2 });
    await expect(Promise.all([sorting.submit(2), sorting.submit(1)])).rejects.toThrow(TypeError);
  });

  it('does not write an item whose caller left before, and finishes one that is being written for those who stay', async () => {
    const { batcher, calls, clock } = held({ windowMs: 5 });
    const [early, late] = [new AbortController(), new AbortController()];
    const gone = batcher.submit(1, { signal: early.signal });
    const leaving = batcher.submit(2, { signal: late.signal });
    const staying = batcher.submit(3);
    early.abort('early');
    await expect(gone).rejects.toBe('early');
    await clock.advance(5);
    expect(calls[0]?.items).toEqual([2, 3]);
    late.abort('late');
    await expect(leaving).rejects.toBe('late');
    expect(calls[0]?.signal.aborted).toBe(false);
    calls[0]?.release();
    await staying;
    await expect(batcher.submit(4, { signal: AbortSignal.abort('no') })).rejects.toBe('no');
  });

  it('does not hurry an item because another that was flushed has left', async () => {
    const { batcher, calls, clock } = held({ windowMs: 50, maxBatchSize: 2 });
    const running = Promise.all([batcher.submit(1), batcher.submit(2)]);
    const controller = new AbortController();
    const leaving = batcher.submit(3, { signal: controller.signal });
    const flushed = batcher.flush();
    controller.abort('left');
    await expect(leaving).rejects.toBe('left');
    const waiting = batcher.submit(4);
    calls[0]?.release();
    await running;
    await clock.advance(49);
    expect(calls).toHaveLength(1);
    await clock.advance(1);
    calls[1]?.release();
    await Promise.all([waiting, flushed]);
  });

  it('aborts a batch when all its callers have gone', async () => {
    const { batcher, calls } = held({ maxBatchSize: 2 });
    const controllers = [new AbortController(), new AbortController()];
    const writes = Promise.allSettled(controllers.map(({ signal }, i) => batcher.submit(i, { signal })));
    controllers[0]?.abort('0');
    expect(calls[0]?.signal.aborted).toBe(false);
    controllers[1]?.abort('1');
    expect(calls[0]?.signal.aborted).toBe(true);
    await writes;
  });

  it.each([
    ['stops when it is told to', { written: 0, failed: 0 }],
    ['writes all the same', { written: 1, failed: 0 }],
  ])('counts no failure of a batch that everybody has left and that %s', async (how, counts) => {
    const { batcher, calls, clock } = held({ maxBatchSize: 1, batchTimeoutMs: 100 });
    const controller = new AbortController();
    const leaving = batcher.submit(1, { signal: controller.signal });
    controller.abort('left');
    await expect(leaving).rejects.toBe('left');
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(100);
    expect(calls[0]?.signal.reason).toBe('left');
    if (how.startsWith('stops')) calls[0]?.fail(new Error('aborted'));
    else calls[0]?.release();
    await batcher.onIdle();
    expect(batcher.stats()).toMatchObject(counts);
  });

  it('tells its callers when a batch takes too long, and starts no other before it has ended', async () => {
    const { batcher, calls, clock } = held({ maxBatchSize: 1, batchTimeoutMs: 100 });
    const first = batcher.submit(1).catch((error) => error.code);
    const second = batcher.submit(2);
    await clock.advance(100);
    expect(await first).toBe('ERR_TIMEOUT');
    expect(calls[0]?.signal.aborted).toBe(true);
    expect(calls).toHaveLength(1);
    calls[0]?.release();
    await turn();
    calls[1]?.release();
    await second;
  });

  it.each([
    [{ maxBatchSize: 0 }, RangeError],
    [{ windowMs: -1 }, RangeError],
    [{ maxQueued: 1.5 }, RangeError],
    [{ maxBatchBytes: 10 }, TypeError],
    [{ bytesOf: () => 1 }, TypeError],
    [{ whenFull: 'drop' }, TypeError],
    [{ onBatch: 'log' }, TypeError],
    [{ batchTimeoutMs: 0 }, RangeError],
    [{ name: 7 }, RangeError],
    [{ clock: {} }, TypeError],
  ])('refuses %j', (options, kind) => {
    expect(() => recording(options as BatcherOptions<number>)).toThrow(kind);
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
