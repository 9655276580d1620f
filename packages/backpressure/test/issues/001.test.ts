import { mapLimit, settleLimit } from '@x/backpressure';
import { describe, expect, test } from 'vitest';

// A string, which is iterable, threw from `in`; what is no iterable, and an `fn` that is none, were not named as such.

describe.each([
  ['mapLimit', mapLimit as (...given: never[]) => Promise<unknown>],
  ['settleLimit', settleLimit as (...given: never[]) => Promise<unknown>],
])('%s', (_name, fanOut) => {
  const over = (...given: unknown[]) => fanOut(...(given as never[]));

  test('takes a string as the iterable that it is', async () => {
    const seen: string[] = [];
    await over('añ😀', 1, (character: string) => seen.push(character));
    expect(seen).toEqual(['a', 'ñ', '😀']);
  });

  test.each([undefined, null, 5, true, Symbol('s'), {}, () => {}, { [Symbol.asyncIterator]: 1 }])(
    'refuses %o as items',
    async (items) => {
      const outcome = over(items, 1, () => {});
      await expect(outcome).rejects.toThrow(TypeError);
      await expect(outcome).rejects.toThrow(/^@x\/backpressure: items must be an iterable or an async iterable, got /);
    },
  );

  test.each([undefined, null, {}])('refuses %o as fn, before anything is pulled', async (fn) => {
    let pulled = false;
    const items = {
      [Symbol.iterator]() {
        pulled = true;
        return [1][Symbol.iterator]();
      },
    };
    const outcome = over(items, 1, fn);
    await expect(outcome).rejects.toThrow(TypeError);
    await expect(outcome).rejects.toThrow(`@x/backpressure: fn must be a function, got ${fn}`);
    expect(pulled).toBe(false);
  });

  test('an async iterator of null gives way to the sync one, as in a for await', async () => {
    const items = Object.assign([1, 2], { [Symbol.asyncIterator]: null });
    const seen: number[] = [];
    await over(items, 1, (n: number) => seen.push(n));
    expect(seen).toEqual([1, 2]);
  });
});
