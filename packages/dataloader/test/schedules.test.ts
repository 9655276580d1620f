import { AsyncLocalStorage } from 'node:async_hooks';
import { DataLoader, type DataLoaderOptions, type Schedule } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

function recording(options: DataLoaderOptions<number, number>) {
  const batches: (readonly number[])[] = [];
  const loader = new DataLoader<number, number>(async (keys) => {
    batches.push(keys);
    return keys;
  }, options);
  return { loader, batches };
}

describe('schedules', () => {
  it("'immediate' gathers what several events of one turn of the loop ask for", async () => {
    const { loader, batches } = recording({ schedule: 'immediate' });
    const loads: Promise<number>[] = [];
    process.nextTick(() => loads.push(loader.load(1)));
    void Promise.resolve().then(() => process.nextTick(() => loads.push(loader.load(2))));
    await turn();
    await Promise.all(loads);
    expect(batches).toEqual([[1, 2]]);
  });

  it('a window starts with the first key and ends once, however many join', async () => {
    const clock = new ManualClock();
    const { loader, batches } = recording({ schedule: { windowMs: 5 }, clock });
    const loads = [loader.load(1)];
    await clock.advance(4);
    loads.push(loader.load(2));
    expect(batches).toEqual([]);
    expect(loader.stats().queuedKeys).toBe(2);
    await clock.advance(1);
    expect(batches).toEqual([[1, 2]]);
    expect(loader.stats().queuedKeys).toBe(0);
    await Promise.all(loads);
    expect(clock.pendingTimers).toBe(0);
  });

  it('a process that was held up past the window takes in first what has arrived meanwhile', async () => {
    let now = 0;
    let timer = () => {};
    const clock = {
      now: () => now,
      setTimeout: (fn: () => void) => {
        timer = fn;
      },
      clearTimeout() {},
    };
    const { loader, batches } = recording({ schedule: { windowMs: 5, maxWaitMs: 500 }, clock });
    const loads = [loader.load(1)];
    now = 100;
    // The loop comes back to an overdue timer, and to a request that is ready to be read.
    timer();
    loads.push(loader.load(2));
    await turn();
    expect(batches).toEqual([]);
    now = 105;
    timer();
    // One more that is accepted, read and parsed in turns of their own.
    for (let turns = 0; turns < 6; turns += 1) await turn();
    expect(batches).toEqual([]);
    loads.push(loader.load(3));
    // Its key starts the window again.
    for (let turns = 0; turns < 8; turns += 1) await turn();
    expect(batches).toEqual([]);
    now = 110;
    timer();
    for (let turns = 0; turns < 8; turns += 1) await turn();
    expect(batches).toEqual([[1, 2, 3]]);
    await Promise.all(loads);
  });

  it('with maxWaitMs each key starts the window again, up to that long after the first', async () => {
    const clock = new ManualClock();
    const { loader, batches } = recording({ schedule: { windowMs: 5, maxWaitMs: 12 }, clock });
    void loader.load(1);
    for (let key = 2; key <= 6; key += 1) {
      await clock.advance(3);
      void loader.load(key);
    }
    expect(batches).toEqual([[1, 2, 3, 4]]);
    await clock.advance(4);
    expect(batches).toHaveLength(1);
    await clock.advance(1);
    for (let turns = 0; turns < 8; turns += 1) await turn();
    expect(batches).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
  });

  it('a full batch does not wait for the end of its window', async () => {
    const clock = new ManualClock();
    const { loader, batches } = recording({ schedule: { windowMs: 1_000 }, maxBatchSize: 2, clock });
    expect(await Promise.all([loader.load(1), loader.load(2)])).toEqual([1, 2]);
    // Nor does its timer outlive it, and hold it in memory.
    expect(clock.pendingTimers).toBe(0);
    void loader.load(3);
    await clock.advance(1_000);
    expect(batches).toEqual([[1, 2], [3]]);
  });

  it("'adaptive' lets a lone call wait for a few turns of an idle loop, and for no timer", async () => {
    const clock = new ManualClock();
    const { loader, batches } = recording({ schedule: 'adaptive', clock });
    const load = loader.load(1);
    for (let turns = 0; turns < 5; turns += 1) await turn();
    expect(batches).toEqual([[1]]);
    expect(clock.pendingTimers).toBe(0);
    expect(await load).toBe(1);
  });

  it("'adaptive' waits while the loop brings more keys or is busy otherwise, at most 10 ms", async () => {
    const clock = new ManualClock();
    const { loader, batches } = recording({ schedule: 'adaptive', clock });
    const loads = [loader.load(0)];
    // A key with every second turn of the loop: never three quiet ones in a row.
    for (let key = 1; key <= 20; key += 1) {
      await turn();
      await turn();
      loads.push(loader.load(key));
    }
    expect(batches).toEqual([]);
    // Turns that take a millisecond each, as those of a server that parses requests do.
    for (let ms = 0; ms < 9; ms += 1) {
      clock.jump(1);
      await turn();
    }
    expect(batches).toEqual([]);
    clock.jump(1);
    await turn();
    await turn();
    expect(batches).toEqual([Array.from({ length: 21 }, (_, key) => key)]);
    await Promise.all(loads);
    expect(loader.stats().queueWaitMs).toBe(10);
  });

  it("'adaptive' gathers while a batch runs, and for 10 ms at most", async () => {
    const clock = new ManualClock();
    const batches: (readonly number[])[] = [];
    const releases: (() => void)[] = [];
    const loader = new DataLoader<number, number>(
      async (keys) => {
        batches.push(keys);
        await new Promise<void>((resolve) => releases.push(resolve));
        return keys;
      },
      { schedule: 'adaptive', clock },
    );
    const turns = async () => {
      for (let i = 0; i < 6; i += 1) await turn();
    };
    const loads = [loader.load(1)];
    await turns();
    expect(batches).toEqual([[1]]);
    for (let key = 2; key <= 4; key += 1) {
      loads.push(loader.load(key));
      await turns();
      await clock.advance(2);
    }
    expect(batches).toHaveLength(1);
    releases[0]?.();
    await turns();
    expect(batches).toEqual([[1], [2, 3, 4]]);
    expect(clock.pendingTimers).toBe(0);
    loads.push(loader.load(5));
    await clock.advance(9);
    expect(batches).toHaveLength(2);
    await clock.advance(1);
    expect(batches).toHaveLength(3);
    for (const release of releases) release();
    expect(await Promise.all(loads)).toEqual([1, 2, 3, 4, 5]);
  });

  it("'adaptive' does not keep a full batch", async () => {
    const { loader, batches } = recording({ schedule: 'adaptive', maxBatchSize: 2, clock: new ManualClock() });
    const loads = [loader.load(1), loader.load(2), loader.load(3)];
    await Promise.resolve();
    await new Promise<void>((resolve) => process.nextTick(resolve));
    expect(batches).toEqual([[1, 2]]);
    expect(await Promise.all(loads)).toEqual([1, 2, 3]);
  });

  it.each<[Schedule, number]>([
    [{ windowMs: 5, maxWaitMs: 12 }, 5],
    ['adaptive', 0],
  ])(
    'with %j what a batch function loads joins a batch that was about to go, and that takes it along',
    async (schedule, untilItGoesMs) => {
      const clock = new ManualClock();
      const batches: (readonly number[])[] = [];
      const loads: Promise<number>[] = [];
      const loader: DataLoader<number, number> = new DataLoader(
        async (keys) => {
          batches.push(keys);
          if (keys.includes(1)) loads.push(loader.load(4));
          return keys;
        },
        { schedule, partition: (key) => key % 2, clock },
      );
      const pass = async (ms: number) => {
        await clock.advance(ms);
        for (let turns = 0; turns < 12; turns += 1) await turn();
      };
      loads.push(loader.load(1), loader.load(2));
      await pass(untilItGoesMs);
      // The key that has joined starts a window again; without one it goes with the next turn.
      if (untilItGoesMs > 0) expect(batches).toEqual([[1]]);
      await pass(untilItGoesMs);
      expect(batches).toEqual([[1], [2, 4]]);
      expect(await Promise.all(loads)).toEqual([1, 2, 4]);
      expect(clock.pendingTimers).toBe(0);
    },
  );

  it("'adaptive' does not make a batch function wait for itself", async () => {
    const loader: DataLoader<number, number> = new DataLoader(
      async ([key = 0]) => [key < 3 ? await loader.load(key + 1) : key],
      { schedule: 'adaptive', maxBatchSize: 1, clock: new ManualClock() },
    );
    await expect(loader.load(1)).resolves.toBe(3);
  });

  it.each([
    ['nightly', TypeError],
    [{ windowMs: 0 }, RangeError],
    [{ windowMs: Number.NaN }, RangeError],
    [{ windowMs: 5, maxWaitMs: 4 }, RangeError],
  ])('%j is refused', (schedule, kind) => {
    expect(() => recording({ schedule: schedule as never })).toThrow(kind);
    expect(() => recording({ schedule: schedule as never })).toThrow(/@x\/dataloader: schedule/);
  });
});

describe('the batch function', () => {
  it("runs in the context in which the loader was made, not in its first caller's", async () => {
    const user = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const loader = user.run('owner', () => {
      return new DataLoader<number, number>(async (keys) => {
        seen.push(user.getStore());
        return keys;
      });
    });
    const after = await Promise.all([
      user.run('alice', () => loader.load(1).then(() => user.getStore())),
      user.run('bob', () => loader.load(2).then(() => user.getStore())),
    ]);
    expect(seen).toEqual(['owner']);
    expect(after).toEqual(['alice', 'bob']);
  });
});

describe('maxConcurrentBatches', () => {
  it('lets so many run and the others wait in order', async () => {
    const releases: (() => void)[] = [];
    let running = 0;
    let most = 0;
    const loader = new DataLoader<number, number>(
      async (keys) => {
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => releases.push(resolve));
        running -= 1;
        return keys;
      },
      { maxBatchSize: 1, maxConcurrentBatches: 2 },
    );
    const loads = loader.loadMany([1, 2, 3, 4, 5]);
    for (let released = 0; released < 5; released += 1) {
      await turn();
      expect(loader.stats().queuedKeys).toBe(Math.max(0, 3 - released));
      releases[released]?.();
    }
    expect(await loads).toEqual([1, 2, 3, 4, 5]);
    expect(most).toBe(2);
  });

  it('does not lock a loader up that is loaded from inside its own batch function', async () => {
    const loader: DataLoader<number, number> = new DataLoader(
      async (keys) => Promise.all(keys.map(async (key) => (key % 10 < 5 ? (await loader.load(key + 1)) + 1 : key))),
      { maxConcurrentBatches: 1, maxBatchSize: 2 },
    );
    expect(await Promise.all([loader.load(1), loader.load(11)])).toEqual([9, 19]);
  });

  it('nor one whose batch function waits for a key that is queued behind it', async () => {
    const loader: DataLoader<number, number> = new DataLoader(
      async ([key = 0]) => {
        if (key !== 1) return [key];
        await turn();
        return [(await loader.load(2)) * 10];
      },
      { maxConcurrentBatches: 1, maxBatchSize: 1 },
    );
    expect(await Promise.all([loader.load(1), loader.load(2)])).toEqual([20, 2]);
  });
});

describe('ttlMs', () => {
  it('is how long a key is kept', async () => {
    const clock = new ManualClock();
    const { loader, batches } = recording({ ttlMs: 100, clock });
    await loader.load(1);
    await clock.advance(99);
    await loader.load(1);
    await clock.advance(1);
    await loader.load(1);
    expect(batches).toEqual([[1], [1]]);
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
