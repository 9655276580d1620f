import { Cache } from '@x/cache';
import { LRUCache } from 'lru-cache';
import type { Goal } from './cache-goals.ts';

const ITEMS = 100_000;
const LENGTH = 1_000_000;
const LOOP = 10_000;

interface Trace {
  name: string;
  requests: Int32Array;
  sizes: readonly number[];
}

/** Seven seeded traces of a million requests at three sizes each: the shipped class, lru-cache, and Belady's optimum. */
export async function hitRatioGoals(): Promise<Goal[]> {
  const names = Array.from({ length: ITEMS }, (_, item) => `item:${item}`);
  let gained = 0;
  let cells = 0;
  let worstOnZipf = Number.POSITIVE_INFINITY;
  console.log('\nhit ratio, %: entries  @x/cache  lru-cache  optimum');
  for (const { name, requests, sizes } of traces()) {
    const keys = Array.from(requests, (item) => names[item] ?? `once:${item}`);
    for (const size of sizes) {
      const ours = 100 * (await oursOn(keys, size));
      const lru = 100 * lruOn(keys, size);
      const optimum = 100 * optimumOn(requests, size);
      console.log(`  ${name}: ${size}  ${ours.toFixed(1)}  ${lru.toFixed(1)}  ${optimum.toFixed(1)}`);
      gained += ours - lru;
      cells++;
      if (name.startsWith('zipf')) worstOnZipf = Math.min(worstOnZipf, ours - lru);
    }
  }
  return [
    { what: `mean of ${cells} cells above lru-cache, points`, atLeast: 10, measured: gained / cells },
    { what: 'worst Zipf cell against lru-cache, points', atLeast: -1, measured: worstOnZipf },
  ];
}

function* traces(): Generator<Trace> {
  const sizes = [100, 1_000, 10_000];
  for (const skew of [0.9, 1, 1.1]) yield { name: `zipf ${skew.toFixed(1)}`, requests: zipf(skew, 1), sizes };
  for (const skew of [0.9, 1.1]) {
    // Each fifth request is for something that is never asked for again.
    const requests = zipf(skew, 2).map((item, n) => (n % 5 === 0 ? ITEMS + n : item));
    yield { name: `zipf ${skew.toFixed(1)}, 20 % scan`, requests, sizes };
  }
  yield { name: 'zipf 1.0, reshuffled every 100,000', requests: reshuffled(zipf(1, 3)), sizes };
  const loop = Int32Array.from({ length: LENGTH }, (_, n) => n % LOOP);
  yield { name: 'loop of 10,000', requests: loop, sizes: [1_000, 5_000, 9_000] };
}

async function oursOn(keys: readonly string[], maxEntries: number): Promise<number> {
  const cache = new Cache({ maxEntries });
  const load = () => 1;
  for (const key of keys) await cache.getOrSet(key, load);
  const { hitsMemory } = cache.stats();
  await cache.close();
  return hitsMemory / keys.length;
}

function lruOn(keys: readonly string[], max: number): number {
  const cache = new LRUCache<string, number>({ max });
  let hits = 0;
  for (const key of keys) {
    if (cache.get(key) !== undefined) hits++;
    else cache.set(key, 1);
  }
  return hits / keys.length;
}

/** Belady (1966) with bypass: what is needed farthest in the future goes, be it the newcomer. */
function optimumOn(trace: Int32Array, size: number): number {
  const nextUse = new Int32Array(trace.length);
  const seen = new Map<number, number>();
  for (let n = trace.length - 1; n >= 0; n--) {
    nextUse[n] = seen.get(trace[n] as number) ?? trace.length + n;
    seen.set(trace[n] as number, n);
  }
  const held = new Map<number, number>();
  // A heap of next uses, farthest first; entries that are no longer true are skipped.
  const heap: { item: number; use: number }[] = [];
  let hits = 0;
  for (let n = 0; n < trace.length; n++) {
    const item = trace[n] as number;
    const use = nextUse[n] as number;
    if (held.has(item)) hits++;
    held.set(item, use);
    push(heap, { item, use });
    while (held.size > size) {
      const farthest = pop(heap);
      if (farthest === undefined) break;
      if (held.get(farthest.item) === farthest.use) held.delete(farthest.item);
    }
  }
  return hits / trace.length;
}

function push(heap: { item: number; use: number }[], entry: { item: number; use: number }): void {
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as typeof entry;
    if (above.use >= entry.use) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = entry;
}

function pop(heap: { item: number; use: number }[]): { item: number; use: number } | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined || heap.length === 0) return top;
  let at = 0;
  for (let child = 1; child < heap.length; child = 2 * at + 1) {
    if (child + 1 < heap.length && (heap[child + 1] as typeof last).use > (heap[child] as typeof last).use) child++;
    if ((heap[child] as typeof last).use <= last.use) break;
    heap[at] = heap[child] as typeof last;
    at = child;
  }
  heap[at] = last;
  return top;
}

/** Requests for items whose popularity falls with their rank to the power of `skew`. */
function zipf(skew: number, seed: number): Int32Array {
  const random = seeded(seed);
  const cumulative = new Float64Array(ITEMS);
  let total = 0;
  for (let n = 0; n < ITEMS; n++) {
    total += 1 / (n + 1) ** skew;
    cumulative[n] = total;
  }
  return Int32Array.from({ length: LENGTH }, () => {
    const wanted = random() * total;
    let low = 0;
    let high = ITEMS - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulative[middle] as number) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}

/** The same, where every 100,000 requests other items become the popular ones. */
function reshuffled(trace: Int32Array): Int32Array {
  const random = seeded(4);
  let names = new Int32Array(0);
  return trace.map((item, n) => {
    if (n % 100_000 === 0) {
      names = Int32Array.from({ length: ITEMS }, (_, index) => index);
      for (let index = ITEMS - 1; index > 0; index--) {
        const other = Math.floor(random() * (index + 1));
        [names[index], names[other]] = [names[other] as number, names[index] as number];
      }
    }
    return names[item] as number;
  });
}

/** Mulberry32. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
