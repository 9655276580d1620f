import { getEventListeners } from 'node:events';
import { mapLimit, settleLimit } from '@x/backpressure';
import { describe, expect, test } from 'vitest';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('mapLimit', () => {
  test('runs at most `limit` at a time and keeps the order', async () => {
    let running = 0;
    let most = 0;
    const results = await mapLimit([5, 1, 4, 2, 3, 0], 3, async (n, { index }) => {
      most = Math.max(most, ++running);
      for (let turn = 0; turn < n; turn++) await tick();
      running--;
      return [n, index];
    });
    expect(results).toEqual([5, 1, 4, 2, 3, 0].map((n, index) => [n, index]));
    expect(most).toBe(3);
  });

  test('pulls an item only when there is room for it, one at a time, from any iterable', async () => {
    let pulled = 0;
    let pulling = 0;
    let done = 0;
    const items: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          expect(++pulling).toBe(1);
          await tick();
          pulling--;
          return pulled < 10 ? { done: false, value: pulled++ } : { done: true, value: undefined };
        },
      }),
    };
    const results = await mapLimit(items, 2, async (n) => {
      expect(pulled - done).toBeLessThanOrEqual(2);
      await tick();
      done++;
      return n;
    });
    expect(results).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await mapLimit(new Set(['a', 'b']), Number.POSITIVE_INFINITY, (item) => item + item)).toEqual(['aa', 'bb']);
    expect(await mapLimit([], 1, () => 1)).toEqual([]);
  });

  test('the first failure rejects at once, aborts the others, pulls no more and closes the iterator', async () => {
    let closed = false;
    const started: number[] = [];
    const signals: AbortSignal[] = [];
    function* items() {
      try {
        for (let n = 0; ; n++) yield n;
      } finally {
        closed = true;
      }
    }
    const failure = new Error('second');
    const run = mapLimit(items(), 3, (n, { signal }) => {
      started.push(n);
      signals.push(signal);
      if (n === 1) return Promise.reject(failure);
      return new Promise(() => {});
    });
    await expect(run).rejects.toBe(failure);
    await tick();
    expect(started).toEqual([0, 1, 2]);
    expect(closed).toBe(true);
    expect(signals.every((signal) => signal.aborted && signal.reason === failure)).toBe(true);
  });

  test('a second failure closes the iterator no second time', async () => {
    let closed = 0;
    let n = 0;
    const items = {
      [Symbol.iterator]: () => ({
        next: () => ({ done: false as const, value: n++ }),
        return: () => ({ done: true as const, value: ++closed }),
      }),
    };
    await expect(mapLimit(items, 3, (item) => Promise.reject(new Error(`${item}`)))).rejects.toThrow('0');
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(1);
  });

  test('an item that comes after the failure is not begun', async () => {
    let deliver = (): void => {};
    const started: number[] = [];
    async function* items() {
      yield 0;
      await new Promise<void>((resolve) => {
        deliver = resolve;
      });
      yield 1;
    }
    const run = mapLimit(items(), 2, async (n) => {
      started.push(n);
      await tick();
      throw new Error('first');
    });
    await expect(run).rejects.toThrow('first');
    deliver();
    await tick();
    expect(started).toEqual([0]);
  });

  test('an iterator that has ended is not closed, one that has failed neither', async () => {
    let closed = 0;
    const source = (last: () => IteratorResult<number>) => {
      let pulled = 0;
      const iterator: Iterator<number> = {
        next: () => (pulled++ === 0 ? { done: false, value: 1 } : last()),
        return: () => {
          closed++;
          return { done: true, value: undefined };
        },
      };
      return { [Symbol.iterator]: () => iterator };
    };
    const ended = source(() => ({ done: true, value: undefined }));
    const failsLater = async () => {
      await tick();
      throw new Error('late');
    };
    await expect(mapLimit(ended, 2, failsLater)).rejects.toThrow('late');
    const failed = source(() => {
      throw new Error('source');
    });
    await expect(mapLimit(failed, 2, () => tick())).rejects.toThrow('source');
    await tick();
    expect(closed).toBe(0);
  });

  test('leaves no listener on a signal, however it ends', async () => {
    const { signal } = new AbortController();
    await mapLimit([1, 2], 1, (n) => n, { signal });
    await mapLimit([], 1, (n) => n, { signal });
    await settleLimit([1], 1, () => Promise.reject(new Error('no')), { signal });
    await mapLimit([1], 1, () => Promise.reject(new Error('no')), { signal }).catch(() => {});
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('a synchronous throw and a failing iterator reject too', async () => {
    await expect(
      mapLimit([1, 2], 1, () => {
        throw new Error('sync');
      }),
    ).rejects.toThrow('sync');
    async function* broken() {
      yield 1;
      throw new Error('source');
    }
    await expect(mapLimit(broken(), 1, (n) => n)).rejects.toThrow('source');
    await expect(settleLimit(broken(), 1, (n) => n)).rejects.toThrow('source');
  });

  test('an abort rejects with its reason at once, also while the source is stuck', async () => {
    const controller = new AbortController();
    let inner: AbortSignal | undefined;
    async function* stuck() {
      yield 1;
      await new Promise(() => {});
    }
    const run = mapLimit(
      stuck(),
      5,
      (_, { signal }) => {
        inner = signal;
        return new Promise(() => {});
      },
      { signal: controller.signal },
    );
    await tick();
    const reason = new Error('gone');
    controller.abort(reason);
    await expect(run).rejects.toBe(reason);
    expect(inner?.reason).toBe(reason);
    let pulled = false;
    const untouched = {
      [Symbol.iterator]() {
        pulled = true;
        return [1][Symbol.iterator]();
      },
    };
    await expect(mapLimit(untouched, 1, (n) => n, { signal: controller.signal })).rejects.toBe(reason);
    expect(pulled).toBe(false);
  });

  test('ten thousand items that end at once do not pile up on the stack', async () => {
    const items = Array.from({ length: 10_000 }, (_, n) => n);
    expect(await mapLimit(items, 7, (n) => n)).toEqual(items);
  });

  test('a bad limit is refused', async () => {
    await expect(mapLimit([], 0, () => 1)).rejects.toThrow('limit must be an integer >= 1 or Infinity, got 0');
  });
});

describe('settleLimit', () => {
  test('gives each item its outcome, in order, and stops for none', async () => {
    expect(
      await settleLimit([1, 2, 3], 2, async (n) => {
        if (n === 2) throw new Error('two');
        return n * 10;
      }),
    ).toEqual([
      { status: 'fulfilled', value: 10 },
      { status: 'rejected', reason: new Error('two') },
      { status: 'fulfilled', value: 30 },
    ]);
  });

  test('rejects on abort, at once', async () => {
    const controller = new AbortController();
    const run = settleLimit([1, 2, 3], 2, () => new Promise(() => {}), { signal: controller.signal });
    await tick();
    controller.abort(new Error('gone'));
    await expect(run).rejects.toThrow('gone');
  });
});

test('an iterator that is stopped while it is asked is closed once, when it has answered', async () => {
  const told: string[] = [];
  const caller = new AbortController();
  const items = {
    [Symbol.iterator]: () => ({
      next: () => {
        told.push('asked');
        caller.abort(new Error('enough'));
        told.push('answered');
        return { done: false, value: 1 };
      },
      return: () => {
        told.push('closed');
        return { done: true as const, value: undefined };
      },
    }),
  };
  await expect(mapLimit(items, 2, async (n) => n, { signal: caller.signal })).rejects.toThrow('enough');
  expect(told).toEqual(['asked', 'answered', 'closed']);
});
