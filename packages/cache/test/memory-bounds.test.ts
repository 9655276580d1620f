import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { collectGarbage } from './garbage.ts';

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
      fc.array(fc.tuple(fc.nat(12), fc.nat(3_000), fc.boolean()), { maxLength: 80, size: 'max' }),
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
  const cache = new Cache({ maxEntries: 10 });
  const heap = () => {
    collectGarbage();
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

test('what is kept stays as it was while memory grows', async () => {
  const clock = new ManualClock();
  // Early refresh draws by the load time that was kept.
  const cache = new Cache({ clock, maxEntries: 1_000, earlyRefresh: true, random: () => 0.5, maxScopeShare: 0.5 });
  const many = Array.from({ length: 20 }, (_, n) => n);
  for (const n of many) {
    await clock.advance(1);
    const times = { ttlMs: 1_000 + n, staleWhileRevalidateMs: 100 + n, staleIfErrorMs: 50 };
    await cache.set(`swr ${n}`, new Map([['n', n]]), { ...times, tags: [`tag ${n}`] });
    await cache.set(`sie ${n}`, n, { ...times, staleWhileRevalidateMs: 0, staleIfErrorMs: 200 + n });
    await cache.set(`sliding ${n}`, n, { ttlMs: 700, sliding: true });
    const loading = cache.getOrSet(
      `slow ${n}`,
      () => new Promise((resolve) => clock.setTimeout(() => resolve(n), 300)),
    );
    await clock.advance(300);
    await loading;
    for (const m of many) await cache.get(`sliding ${m}`);
    await cache.expire(`swr ${n}`);
  }
  const before = await seen();
  const { bytes } = cache.stats();
  for (let n = 0; n < 900; n++) await cache.set(`other ${n}`, n);
  expect(await seen()).toEqual(before);
  await cache.deleteByPattern('other*');
  expect(cache.stats().bytes).toBe(bytes);
  await clock.advance(60);
  const found = await cache.lookup<Map<string, number>>('swr 19');
  expect(found?.stale).toBe(true);
  // Its readers have copies of it.
  found?.value.clear();
  expect(await cache.lookup('swr 19')).toMatchObject({ value: new Map([['n', 19]]) });
  await clock.advance(639);
  for (const n of many) expect(await cache.get(`sliding ${n}`)).toBe(n);
  await clock.advance(699);
  for (const n of many) expect(cache.peek(`sliding ${n}`)).toBe(n);
  await cache.deleteByTag(many.map((n) => `tag ${n}`));
  expect(await cache.deleteByPattern('swr*')).toBe(0);
  let loads = 0;
  await clock.advance(300_000 - 2 * 699 - 200);
  // It has 200 ms left, and -300 ln 0.5 is 208.
  await cache.getOrSet('slow 19', () => ++loads);
  expect(loads).toBe(1);

  function seen() {
    return Promise.all(many.flatMap((n) => ['swr', 'sie', 'slow'].map((kind) => cache.lookup(`${kind} ${n}`))));
  }
});

test('what just fits is kept, a byte less room and it is not', async () => {
  const sized = new Cache();
  await sized.set('key', 'value');
  const { bytes } = sized.stats();
  await sized.set('longer key', 'value');
  expect(sized.stats().bytes - bytes).toBe(bytes + 2 * 'longer '.length);
  for (const bound of ['maxBytes', 'maxItemBytes'] as const) {
    for (const [size, kept] of [
      [bytes, 'value'],
      [bytes - 1, undefined],
    ] as const) {
      const cache = new Cache({ [bound]: size });
      await cache.set('key', 'value');
      expect(cache.peek('key')).toBe(kept);
    }
  }
});

test('what is gone is not held', async () => {
  const cache = new Cache({ maxEntries: 100, copy: 'none' });
  const refs: WeakRef<object>[] = [];
  const put = async (key: string) => {
    const value = { key };
    refs.push(new WeakRef(value));
    await cache.set(key, value);
  };
  for (const key of ['deleted', 'replaced', 'expired']) await put(key);
  await cache.delete('deleted');
  await cache.set('replaced', 1);
  await cache.set('expired', undefined);
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  expect(refs.map((ref) => ref.deref())).toEqual([undefined, undefined, undefined]);
});

test('what is served stale counts as used', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock, maxEntries: 2, ttlMs: 10, staleWhileRevalidateMs: 1_000 });
  for (const key of ['a', 'b']) await cache.set(key, key);
  await clock.advance(20);
  expect(await cache.getOrSet('a', () => new Promise(() => {}))).toBe('a');
  await cache.set('c', 'c');
  expect(await Promise.all(['a', 'b'].map((key) => cache.lookup(key)))).toEqual([
    expect.objectContaining({ value: 'a', stale: true }),
    undefined,
  ]);
});

test('what is written again keeps its standing under S3-FIFO, though there is no room to spare', async () => {
  const sized = new Cache();
  await sized.set('k00', 1);
  const cache = new Cache({ maxBytes: 10 * sized.stats().bytes, policy: 's3-fifo' });
  const scan = async (from: number, to: number) => {
    for (let n = from; n < to; n++) await cache.set(`k${n}`, 1);
  };
  await cache.set('hot', 1);
  await cache.get('hot');
  await scan(10, 30);
  expect(cache.stats().entries).toBe(10);
  await cache.set('hot', 2);
  await scan(30, 90);
  expect(cache.peek('hot')).toBe(2);
});
