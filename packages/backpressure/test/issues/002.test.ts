import { mapLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

// An abort from within a sync generator's own `next` found the generator running, and it was never closed.

test('a source that aborts while it is asked is closed when it has answered', async () => {
  const controller = new AbortController();
  let closed = 0;
  function* items() {
    try {
      yield 1;
      controller.abort(new Error('gone'));
      yield 2;
    } finally {
      closed++;
    }
  }
  const seen: number[] = [];
  const outcome = mapLimit(items(), 5, (n) => seen.push(n), { signal: controller.signal });
  await expect(outcome).rejects.toThrow('gone');
  expect(closed).toBe(1);
  expect(seen).toEqual([1]);
});

test('an async source that aborts so, and then fails or never answers, is closed, and its failure is nobody’s', async () => {
  for (const answer of [() => Promise.reject(new Error('late')), () => new Promise<never>(() => {})]) {
    const controller = new AbortController();
    let closed = 0;
    const items: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          controller.abort(new Error('gone'));
          return answer();
        },
        return: async () => {
          closed++;
          return { done: true, value: undefined };
        },
      }),
    };
    await expect(mapLimit(items, 1, (n) => n, { signal: controller.signal })).rejects.toThrow('gone');
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(1);
  }
});
