import DefaultExport, { DataLoader } from '@x/dataloader';
import { describe, expect, it } from 'vitest';

function identity<K>(options?: DataLoader.Options<K, K>) {
  const batches: (readonly K[])[] = [];
  const loader = new DataLoader<K, K>(async (keys) => {
    batches.push(keys);
    return keys;
  }, options);
  return { loader, batches };
}

describe('batching', () => {
  it('is the default export too, with the type names of upstream', () => {
    const load: DefaultExport.BatchLoadFn<number, string> = async (keys) => keys.map(String);
    const cacheMap: DefaultExport.CacheMap<number, Promise<string>> = new Map();
    const loader: DefaultExport<number, string> = new DefaultExport(load, { cacheMap });
    expect(loader).toBeInstanceOf(DataLoader);
  });

  it('loads the keys of one turn together, also those asked for in its promise callbacks', async () => {
    const { loader, batches } = identity<number>();
    const chained = Promise.resolve()
      .then(() => Promise.resolve())
      .then(() => loader.load(3));
    expect(await Promise.all([loader.load(1), loader.load(2), chained])).toEqual([1, 2, 3]);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  it('asks for a key once however often it is loaded', async () => {
    const { loader, batches } = identity<string>();
    expect(await Promise.all(['a', 'b', 'a', 'a'].map((key) => loader.load(key)))).toEqual(['a', 'b', 'a', 'a']);
    expect(batches).toEqual([['a', 'b']]);
    expect(loader.stats()).toEqual({
      loads: 4,
      hits: 2,
      batches: 1,
      keysLoaded: 2,
      largestBatch: 2,
      batchFailures: 0,
      queuedKeys: 0,
      runningBatches: 0,
      queueWaitMs: 0,
    });
  });

  it('splits at maxBatchSize, and starts all the parts', async () => {
    const { loader, batches } = identity<number>({ maxBatchSize: 2 });
    await loader.loadMany([1, 2, 3, 4, 5]);
    expect(batches).toEqual([[1, 2], [3, 4], [5]]);
  });

  it('does not let a batch in flight hold up later keys', async () => {
    const releases: (() => void)[] = [];
    const loader = new DataLoader<number, number>(async (keys) => {
      if (keys[0] === 1) await new Promise<void>((resolve) => releases.push(resolve));
      return keys;
    });
    const slow = loader.load(1);
    await turn();
    await expect(loader.load(2)).resolves.toBe(2);
    for (const release of releases) release();
    await expect(slow).resolves.toBe(1);
  });

  it('gives cached values only together with the batch that is open, as upstream does', async () => {
    const order: string[] = [];
    let release: () => void = () => {};
    const loader = new DataLoader<string, string>(async (keys) => {
      await new Promise<void>((resolve) => (release = resolve));
      return keys;
    });
    loader.prime('cached', 'cached');
    const both = [
      loader.load('fresh').then((key) => order.push(key)),
      loader.load('cached').then((key) => order.push(key)),
    ];
    await turn();
    expect(order).toEqual([]);
    release();
    await Promise.all(both);
    expect(order).toEqual(['cached', 'fresh']);
  });

  it('answers all hits on a key in one turn with two promises, each with its value', async () => {
    const { loader } = identity<number>();
    await loader.loadMany([1, 2]);
    const hits = [1, 2, 1, 2, 1, 2, 1].map((key) => loader.load(key));
    expect(new Set(hits).size).toBe(4);
    expect(hits[2]).toBe(hits[4]);
    expect(hits[3]).toBe(hits[5]);
    expect(hits[4]).toBe(hits[6]);
    expect(await Promise.all(hits)).toEqual([1, 2, 1, 2, 1, 2, 1]);
    expect(await loader.load(1)).toBe(1);
  });

  it('rejects with the error of its own key, and of its own batch, whatever the others come to', async () => {
    const loader = new DataLoader<number, number>(async (keys) => {
      if (keys.includes(9)) throw new Error('batch');
      return keys.map((key) => (key % 2 === 0 ? key : new Error(`odd ${key}`)));
    });
    const settled = await Promise.allSettled([1, 2, 3, 1].map((key) => loader.load(key)));
    expect(settled.map((one) => (one.status === 'fulfilled' ? one.value : one.reason.message))).toEqual([
      'odd 1',
      2,
      'odd 3',
      'odd 1',
    ]);
    const failed = await Promise.allSettled([9, 8].map((key) => loader.load(key)));
    expect(failed.map((one) => one.status === 'rejected' && one.reason.message)).toEqual(['batch', 'batch']);
  });
});

describe('the cache', () => {
  it('keeps the Error of a key, but nothing of a batch that failed as a whole', async () => {
    let calls = 0;
    const loader = new DataLoader<number, number>(async (keys) => {
      calls += 1;
      if (keys.includes(0)) throw new Error('whole batch');
      return keys.map((key) => (key < 0 ? new RangeError(`negative ${key}`) : key));
    });
    expect(await loader.loadMany([-1, 5])).toEqual([new RangeError('negative -1'), 5]);
    await expect(loader.load(-1)).rejects.toThrow('negative -1');
    expect(calls).toBe(1);
    const failed = await Promise.allSettled([loader.load(0), loader.load(7)]);
    expect(failed.map((result) => result.status)).toEqual(['rejected', 'rejected']);
    await expect(loader.load(7)).resolves.toBe(7);
    expect(calls).toBe(3);
    expect(loader.stats().batchFailures).toBe(1);
  });

  it('keeps no Error that `cacheErrors` does not want', async () => {
    let calls = 0;
    const load = async (keys: readonly string[]) => {
      calls += 1;
      return keys.map((key) => new Error(key));
    };
    const never = new DataLoader<string, never>(load, { cacheErrors: false });
    const some = new DataLoader<string, never>(load, {
      cacheErrors: (error, key) => key === error.message && key === 'kept',
    });
    const broken = new DataLoader<string, never>(load, { cacheErrors: () => JSON.parse('{') });
    for (const loader of [never, some, broken])
      for (const key of ['kept', 'not', 'kept', 'not']) await loader.load(key).catch(() => {});
    expect(calls).toBe(4 + 3 + 4);
  });

  it('is cleared by key and as a whole, and primed without replacing what is there', async () => {
    const { loader, batches } = identity<string>();
    loader.prime('a', 'primed').prime('a', 'again');
    expect(await loader.load('a')).toBe('primed');
    expect(await loader.clear('a').load('a')).toBe('a');
    await loader.load('b');
    await loader.clearAll().loadMany(['a', 'b']);
    expect(batches).toEqual([['a'], ['b'], ['a', 'b']]);
    loader.prime('p', Promise.resolve('promised')).prime('e', new Error('primed error'));
    expect(await loader.load('p')).toBe('promised');
    await expect(loader.load('e')).rejects.toThrow('primed error');
    loader.prime('e', new Error('other'));
    await expect(loader.load('e')).rejects.toThrow('primed error');
  });

  it('keeps null and undefined as values', async () => {
    let calls = 0;
    const loader = new DataLoader<string, null | undefined>(async (keys) => {
      calls += 1;
      return keys.map((key) => (key === 'null' ? null : undefined));
    });
    for (let i = 0; i < 2; i += 1) expect(await loader.loadMany(['null', 'undefined'])).toEqual([null, undefined]);
    expect(calls).toBe(1);
  });

  it('treats NaN as one key, 0 and -0 as one, equal objects as two', async () => {
    const { loader, batches } = identity<unknown>();
    await loader.loadMany([Number.NaN, Number.NaN, 0, -0, {}, {}]);
    expect(batches[0]).toHaveLength(4);
  });

  it('is bounded by maxEntries, the longest unused leaving first', async () => {
    const { loader, batches } = identity<number>({ maxEntries: 2 });
    for (const key of [1, 2, 1, 3, 1, 2]) await loader.load(key);
    expect(batches).toEqual([[1], [2], [3], [2]]);
  });

  it('may be off, with or without asking once for a key', async () => {
    const plain = identity<number>({ cache: false });
    await plain.loader.loadMany([1, 1]);
    const deduped = identity<number>({ cache: false, dedupe: true });
    expect(await deduped.loader.loadMany([1, 1])).toEqual([1, 1]);
    await deduped.loader.load(1);
    expect([plain.batches, deduped.batches]).toEqual([[[1, 1]], [[1], [1]]]);
  });

  it('waits for no open batch with `orderedHits: false`, and gives the cached promise itself', async () => {
    let release: () => void = () => {};
    const loader = new DataLoader<string, string>(
      async (keys) => {
        if (keys.includes('slow')) await new Promise<void>((resolve) => (release = resolve));
        return keys;
      },
      { orderedHits: false },
    );
    const first = loader.load('a');
    expect(loader.load('a')).toBe(first);
    await first;
    const slow = loader.load('slow');
    await expect(loader.load('a')).resolves.toBe('a');
    release();
    await turn();
    release();
    await slow;
  });
});

describe('hazards', () => {
  it('works with a schedule that fires at once', async () => {
    const loader = new DataLoader<number, number>(async (keys) => keys, { batchScheduleFn: (dispatch) => dispatch() });
    expect(await Promise.all([loader.load(1), loader.load(2), loader.load(1)])).toEqual([1, 2, 1]);
  });

  it('works with a promise that has only `then`', async () => {
    const loader = new DataLoader<number, number>((keys) => {
      // biome-ignore lint/suspicious/noThenProperty: that is what is tested
      return { then: (resolve: (value: readonly number[]) => void) => resolve(keys) } as PromiseLike<readonly number[]>;
    });
    await expect(loader.load(1)).resolves.toBe(1);
    const failing = new DataLoader<number, number>(
      // biome-ignore lint/suspicious/noThenProperty: that is what is tested
      () => ({ then: (_: unknown, no: (e: Error) => void) => no(new Error('no')) }) as PromiseLike<number[]>,
    );
    await expect(failing.load(1)).rejects.toThrow('no');
  });

  it('fails a batch function that sorts its keys instead of mixing values up', async () => {
    const loader = new DataLoader<number, string>(async (keys) => (keys as number[]).sort().map((key) => `v${key}`));
    const results = await Promise.allSettled([loader.load(2), loader.load(1)]);
    expect(results.every((result) => result.status === 'rejected' && result.reason instanceof TypeError)).toBe(true);
  });

  it.each([0, -1, 1.5, Number.NaN, '3', null])('refuses maxBatchSize %s', (maxBatchSize) => {
    expect(() => identity({ maxBatchSize: maxBatchSize as number })).toThrow(TypeError);
  });

  it('does not evict what was primed or loaded again when an older batch fails', async () => {
    let fail: (error: Error) => void = () => {};
    const loader = new DataLoader<number, string>(() => new Promise((_, reject) => (fail = reject)));
    const stale = loader.load(1);
    await turn();
    loader.clear(1).prime(1, 'newer');
    fail(new Error('stale'));
    await expect(stale).rejects.toThrow('stale');
    await expect(loader.load(1)).resolves.toBe('newer');
  });

  it.each([
    ['reloaded', 'v2'],
    ['primed', 'primed'],
  ])('nor what a cacheMap was given meanwhile: %s', async (how, newer) => {
    const calls: { resolve: (values: string[]) => void; reject: (error: Error) => void }[] = [];
    const loader = new DataLoader<number, string>(
      () => new Promise((resolve, reject) => calls.push({ resolve, reject })),
      { cacheMap: new Map() },
    );
    const stale = loader.load(1);
    await turn();
    loader.clear(1);
    if (how === 'primed') loader.prime(1, 'primed');
    const reloaded = loader.load(1);
    await turn();
    calls[0]?.reject(new Error('stale'));
    await expect(stale).rejects.toThrow('stale');
    calls[1]?.resolve(['v2']);
    expect(await Promise.all([reloaded, loader.load(1)])).toEqual([newer, newer]);
    expect(calls).toHaveLength(how === 'primed' ? 1 : 2);
  });

  it('is `this` in the batch function, cacheKeyFn and batchScheduleFn', async () => {
    const seen: unknown[] = [];
    const loader: DataLoader<number, number> = new DataLoader<number, number>(
      async function (this: unknown, keys) {
        seen.push(this);
        return keys;
      },
      {
        cacheKeyFn(this: unknown, key) {
          seen.push(this);
          return key;
        },
        batchScheduleFn(this: unknown, dispatch) {
          seen.push(this);
          setImmediate(dispatch);
        },
      },
    );
    await loader.load(1);
    expect(seen.length).toBeGreaterThanOrEqual(3);
    expect(seen.every((one) => one === loader)).toBe(true);
  });

  it('rejects a load whose promise a cacheMap would not take, and leaves no rejection to nobody', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown) => void unhandled.push(error);
    process.on('unhandledRejection', note);
    const cacheMap = {
      get: () => undefined,
      set() {
        throw new Error('full');
      },
      delete() {},
      clear() {},
    };
    const loader = new DataLoader<number, number>(() => Promise.reject(new Error('load failed')), { cacheMap });
    await expect(loader.load(1)).rejects.toThrow('full');
    await turn();
    await turn();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  it('rejects the waiters of a cacheMap that throws instead of hanging them', async () => {
    const map = new Map<number, Promise<number>>();
    const bad = (method: 'get' | 'set' | 'delete') => ({
      get: (key: number) => map.get(key),
      set: (key: number, value: Promise<number>) => map.set(key, value),
      delete: (key: number) => map.delete(key),
      clear: () => map.clear(),
      [method]: () => {
        throw new Error(`${method} broke`);
      },
    });
    const failing = () => Promise.reject(new Error('load failed'));
    for (const method of ['get', 'set'] as const) {
      const loader = new DataLoader<number, number>(async (keys) => keys, { cacheMap: bad(method) });
      await expect(loader.load(1)).rejects.toThrow(`${method} broke`);
    }
    const loader = new DataLoader<number, number>(failing, { cacheMap: bad('delete') });
    await expect(loader.load(1)).rejects.toThrow('load failed');
  });

  it('knows an Error of another realm', async () => {
    const { runInNewContext } = await import('node:vm');
    const foreign = runInNewContext('new Error("elsewhere")');
    const loader = new DataLoader<number, never>(async () => [foreign]);
    await expect(loader.load(1)).rejects.toBe(foreign);
  });

  it('may be loaded from inside its own batch function', async () => {
    const loader: DataLoader<number, number> = new DataLoader(async (keys) => {
      const [first = 0] = keys;
      return first < 3 ? [await loader.load(first + 1)] : [first];
    });
    await expect(loader.load(1)).resolves.toBe(3);
  });
});

describe('results that break the contract', () => {
  const named = (results: unknown, name?: string) =>
    new DataLoader<number, number>(async () => results as number[], { name, cache: false });

  it('too few is an error for every caller, with loader and lengths', async () => {
    const loader = named([1], 'users');
    const results = await Promise.allSettled([1, 2, 3].map((key) => loader.load(key)));
    const { reason } = results[0] as PromiseRejectedResult;
    expect(results.every((result) => result.status === 'rejected' && result.reason === reason)).toBe(true);
    expect(reason).toMatchObject({ code: 'ERR_BATCH_RESULT', keyCount: 3, valueCount: 1 });
    expect(reason.message).toMatch(/same length[\s\S]*Loader "users": 3 keys, 1 values/);
  });

  it.each([
    [null, /Promise of an Array: null[\s\S]*2 keys, no array/],
    ['text', /Promise of an Array: text[\s\S]*2 keys, no array/],
    [{ 0: 1, 1: 2 }, /Promise of an Array: \[object Object\][\s\S]*2 keys, no array/],
    // biome-ignore lint/suspicious/noSparseArray: that is what is tested
    [[, 2], /sparse Array: there is no value at 0[\s\S]*2 keys, 2 values/],
    [new Array(2), /sparse Array: there is no value at 0[\s\S]*2 keys, 2 values/],
    [new Array(1), /same length[\s\S]*2 keys, 1 values/],
  ])('%j is refused', async (results, message) => {
    const all = await named(results).loadMany([1, 2]);
    expect(all.map((error) => (error as unknown as Error).message)).toEqual([
      expect.stringMatching(message),
      expect.stringMatching(message),
    ]);
  });

  it('does not print ten thousand keys', async () => {
    const keys = Array.from({ length: 10_000 }, (_, i) => i);
    const [error] = await named([]).loadMany(keys);
    expect((error as unknown as Error).message.length).toBeLessThan(1_000);
    expect((error as unknown as Error).message).toContain('10000 keys, 0 values');
    expect((error as unknown as Error).message).toContain('98,99,…');
  });
});

describe('results as a Map', () => {
  const rows = new Map([[1, 'one']]);

  it('are found by key, and what is missing is undefined, null or an error', async () => {
    const load = async () => rows;
    expect(await new DataLoader<number, string>(load).loadMany([2, 1])).toEqual([undefined, 'one']);
    expect(await new DataLoader<number, string>(load, { missing: 'null' }).loadMany([2, 1])).toEqual([null, 'one']);
    const [error, one] = await new DataLoader<number, string>(load, { missing: 'error', name: 'numbers' }).loadMany([
      2, 1,
    ]);
    expect(error).toMatchObject({ code: 'ERR_MISSING_KEY', message: expect.stringMatching(/2.*"numbers"/) });
    expect(one).toBe('one');
  });

  it('are found by cache key where keys are objects', async () => {
    const loader = new DataLoader<{ id: number }, string, number>(async () => rows, { cacheKeyFn: ({ id }) => id });
    await expect(loader.load({ id: 1 })).resolves.toBe('one');
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
