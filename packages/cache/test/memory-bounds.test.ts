import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Cache } from '@x/cache';
import fc from 'fast-check';
import { expect, test } from 'vitest';

test('maxEntries holds, and what was used last stays under LRU', async () => {
  const cache = new Cache({ maxEntries: 3, policy: 'lru' });
  const gone: string[] = [];
  cache.on('eviction', ({ key, reason }) => gone.push(`${key} ${reason}`));
  for (const key of ['a', 'b', 'c']) await cache.set(key, key);
  await cache.get('a');
  cache.peek('b');
  await cache.set('d', 'd');
  expect(gone).toEqual(['b capacity']);
  await cache.set('c', 'written again');
  await cache.set('e', 'e');
  expect(gone).toEqual(['b capacity', 'a capacity']);
  expect(cache.stats()).toMatchObject({ entries: 3, evictions: 2 });
});

test('a cache of one entry works under either policy', async () => {
  for (const policy of ['lru', 's3-fifo'] as const) {
    const cache = new Cache({ maxEntries: 1, policy });
    for (let n = 0; n < 50; n++) {
      await cache.set(`k${n % 7}`, n);
      expect(cache.peek(`k${n % 7}`)).toBe(n);
      expect(cache.stats().entries).toBe(1);
    }
  }
});

test('a scan does not wash out what is used again and again, under S3-FIFO', async () => {
  const cache = new Cache({ maxEntries: 200 });
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 100; n++) await cache.getOrSet(`hot ${n}`, () => n);
  }
  for (let n = 0; n < 10_000; n++) await cache.set(`scanned ${n}`, n);
  const left = Array.from({ length: 100 }, (_, n) => cache.peek(`hot ${n}`)).filter((value) => value !== undefined);
  expect(left.length).toBeGreaterThanOrEqual(90);
});

test('S3-FIFO beats LRU by more than seven points on a skewed trace with scans', async () => {
  const trace = zipf(10_000, 60_000, 0.9);
  for (let n = 0; n < trace.length; n += 5) trace[n] = 1_000_000 + n;
  const ratio = async (policy: 's3-fifo' | 'lru') => {
    const cache = new Cache({ maxEntries: 250, policy });
    for (const item of trace) await cache.getOrSet(`item ${item}`, () => item);
    return cache.stats().hitsMemory / trace.length;
  };
  expect(await ratio('s3-fifo')).toBeGreaterThan((await ratio('lru')) + 0.07);
});

test('maxBytes holds whatever is put in, rewritten or taken out', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(12), fc.nat(3_000), fc.boolean()), { maxLength: 80 }),
      fc.constantFrom('lru' as const, 's3-fifo' as const),
      async (steps, policy) => {
        const cache = new Cache({ maxBytes: 5_000, policy });
        for (const [n, size, remove] of steps) {
          await (remove ? cache.delete(`k${n}`) : cache.set(`k${n}`, 'x'.repeat(size)));
          expect(cache.stats().bytes).toBeLessThanOrEqual(5_000);
          if (!remove) expect(cache.peek(`k${n}`)).toHaveLength(size);
        }
        await cache.clear();
        expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
      },
    ),
    { numRuns: 60 },
  );
});

test('an item over maxItemBytes is not kept in memory, nor is the one before it', async () => {
  const cache = new Cache({ maxItemBytes: 1_000 });
  await cache.set('k', 'small');
  await cache.set('k', 'x'.repeat(1_000));
  expect(cache.peek('k')).toBeUndefined();
  let loads = 0;
  for (let n = 0; n < 2; n++)
    expect(await cache.getOrSet('big', () => ++loads && 'x'.repeat(1_000))).toHaveLength(1_000);
  expect(loads).toBe(2);
});

test('sizes follow what is kept', async () => {
  const cache = new Cache();
  const sizeOf = async (value: unknown) => {
    await cache.clear();
    await cache.set('k', value);
    return cache.stats().bytes;
  };
  expect(await sizeOf('x'.repeat(10_000))).toBeGreaterThan(10_000);
  expect(await sizeOf(Buffer.alloc(10_000))).toBeGreaterThan(10_000);
  expect(await sizeOf({ list: new Array(1_000).fill(1) })).toBeGreaterThan(8_000);
  expect(await sizeOf(new Map([['k', 'x'.repeat(5_000)]]))).toBeGreaterThan(5_000);
  expect(await sizeOf('é'.repeat(1_000))).toBeGreaterThan(2_000);
});

function zipf(items: number, length: number, skew: number): number[] {
  const cumulative = new Float64Array(items);
  let total = 0;
  for (let n = 0; n < items; n++) {
    total += 1 / (n + 1) ** skew;
    cumulative[n] = total;
  }
  let seed = 42;
  return Array.from({ length }, () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    const wanted = (seed / 2 ** 32) * total;
    let low = 0;
    let high = items - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulative[middle] as number) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}

test('a tag that no entry has any more takes no room', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const cache = new Cache({ maxEntries: 10 });
  const heap = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const fill = async (tags: number) => {
    for (let n = 0; n < tags; n++) await cache.set('k', n, { tags: [`tag ${n} of many`] });
    await cache.delete('k');
  };
  await fill(1_000);
  const before = heap();
  await fill(100_000);
  // A set and a name for each would be more than 20 MB.
  expect(heap() - before).toBeLessThan(5_000_000);
});
