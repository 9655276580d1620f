import { Cache } from '@x/cache';
import { createCache } from 'async-cache-dedupe';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { Cacheable } from 'cacheable';
import { LRUCache } from 'lru-cache';
import { bench, do_not_optimize, group, run } from 'mitata';

const KEYS = 1_024;
const TTL_MS = 600_000;
const keys = Array.from({ length: KEYS }, (_, n) => `user:${n}`);

/** A memory hit, awaited and at once, beside peers; and the hit ratio of the shipped class beside lru-cache and the optimum. */
export async function runCacheBench(): Promise<void> {
  await hits();
  await hitRatios();
}

async function hits(): Promise<void> {
  const userOf = (key: string) => ({ id: key, name: 'A user', active: true, n: 1 });

  const ours = new Cache({ ttlMs: TTL_MS });
  const lru = new LRUCache<string, object>({ max: 10_000, ttl: TTL_MS });
  const overLru = async (key: string) => lru.get(key) ?? userOf(key);
  const dedupe = createCache({ ttl: TTL_MS / 1_000, storage: { type: 'memory', options: { size: 10_000 } } }).define(
    'user',
    async (key: string) => userOf(key),
  );
  const memory = memoryDriver({ maxItems: 10_000 });
  const bento = new BentoCache({ default: 'memory', stores: { memory: bentostore().useL1Layer(memory) } });
  const cacheable = new Cacheable({ ttl: TTL_MS });

  const load = ({ key }: { key: string }) => userOf(key);
  const contenders: Record<string, (key: string) => Promise<unknown>> = {
    '@x/cache getOrSet': (key) => ours.getOrSet(key, load),
    'async function over lru-cache get': overLru,
    'async-cache-dedupe': (key) => dedupe.user(key),
    'bentocache getOrSet': (key) => bento.getOrSet({ key, ttl: TTL_MS, factory: () => userOf(key) }),
    'cacheable getOrSet': (key) => cacheable.getOrSet(key, async () => userOf(key), { ttl: TTL_MS }),
  };
  for (const key of keys) {
    lru.set(key, userOf(key));
    for (const call of Object.values(contenders)) await call(key);
  }

  group(awaited, () => {
    for (const [name, call] of Object.entries(contenders)) {
      bench(name, async () => {
        for (let n = 0; n < KEYS; n++) await call(keys[n] as string);
      });
    }
  });
  group(atOnce, () => {
    bench('@x/cache peek', () => {
      for (let n = 0; n < KEYS; n++) do_not_optimize(ours.peek(keys[n] as string));
    });
    bench('lru-cache get', () => {
      for (let n = 0; n < KEYS; n++) do_not_optimize(lru.get(keys[n] as string));
    });
  });

  const { benchmarks } = await run();
  const took = new Map<string, number>();
  for (const trial of benchmarks) {
    for (const { name, stats } of trial.runs) if (stats !== undefined) took.set(name, stats.p50);
  }
  const ratio = (our: string, peer: string) => {
    const [mine, theirs] = [took.get(our), took.get(peer)];
    if (mine !== undefined && theirs !== undefined) {
      console.log(`${our} / ${peer}: ${(mine / theirs).toFixed(2)} (${(mine / KEYS).toFixed(0)} ns)`);
    }
  };
  for (const peer of Object.keys(contenders).slice(1)) ratio('@x/cache getOrSet', peer);
  ratio('@x/cache peek', 'lru-cache get');
  await Promise.all([ours.close(), bento.disconnectAll(), cacheable.disconnect()]);
}

const awaited = 'a hit, awaited';
const atOnce = 'a hit, at once';

/** Zipf traces with and without scans, a reshuffled one, and a loop; hit ratios in percent. */
async function hitRatios(): Promise<void> {
  const length = 200_000;
  const items = 20_000;
  const traces: Record<string, Int32Array> = {
    'zipf 0.9': zipf(items, length, 0.9),
    'zipf 1.0': zipf(items, length, 1),
    'zipf 1.1': zipf(items, length, 1.1),
    'zipf 0.9, 20 % scan': scanned(zipf(items, length, 0.9)),
    'zipf 1.1, 20 % scan': scanned(zipf(items, length, 1.1)),
    'loop of 2,000': Int32Array.from({ length }, (_, n) => n % 2_000),
  };
  console.log(`\nhit ratio over ${length} requests for ${items} keys: @x/cache, lru-cache, optimum`);
  for (const [name, trace] of Object.entries(traces)) {
    for (const size of [100, 1_000]) {
      const cells = [await oursOn(trace, size), lruOn(trace, size), optimumOn(trace, size)];
      console.log(`${name}, ${size} entries: ${cells.map((cell) => (cell * 100).toFixed(1)).join('  ')}`);
    }
  }
}

async function oursOn(trace: Int32Array, maxEntries: number): Promise<number> {
  const cache = new Cache({ maxEntries, ttlMs: TTL_MS });
  for (const item of trace) await cache.getOrSet(String(item), () => item);
  return cache.stats().hitsMemory / trace.length;
}

function lruOn(trace: Int32Array, max: number): number {
  const cache = new LRUCache<string, number>({ max });
  let hits = 0;
  for (const item of trace) {
    if (cache.get(String(item)) !== undefined) hits++;
    else cache.set(String(item), item);
  }
  return hits / trace.length;
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

function scanned(trace: Int32Array): Int32Array {
  return trace.map((item, n) => (n % 5 === 0 ? 10_000_000 + n : item));
}

function zipf(items: number, length: number, skew: number): Int32Array {
  const cumulative = new Float64Array(items);
  let total = 0;
  for (let n = 0; n < items; n++) {
    total += 1 / (n + 1) ** skew;
    cumulative[n] = total;
  }
  let seed = 42;
  return Int32Array.from({ length }, () => {
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
