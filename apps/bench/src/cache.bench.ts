import { Cache } from '@x/cache';
import { createCache } from 'async-cache-dedupe';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { Cacheable } from 'cacheable';
import { LRUCache } from 'lru-cache';
import { do_not_optimize, measure } from 'mitata';
import { type Goal, printGoals } from './cache-goals.ts';
import { hitRatioGoals } from './cache-hit-ratio.ts';

const KEYS = 1_024;
const TTL_MS = 600_000;
const ROUNDS = 25;
const keys = Array.from({ length: KEYS }, (_, n) => `user:${n}`);
const userOf = (key: string) => ({ id: key, name: 'A user', active: true, n: 1 });

/** A memory hit, awaited and at once, and an entry's heap, beside peers; the hit ratio of the shipped class beside lru-cache and the optimum. */
export async function runCacheBench(): Promise<void> {
  const goals = [...heapGoals(await heapPerEntry()), ...(await hitGoals()), ...(await hitRatioGoals())];
  printGoals(goals);
}

/** Every contender in each round, so that what disturbs the machine disturbs all of them. */
async function hitGoals(): Promise<Goal[]> {
  const ours = new Cache({ ttlMs: TTL_MS });
  const early = new Cache({ ttlMs: TTL_MS, earlyRefresh: true, maxScopeShare: 0.5 });
  const lru = new LRUCache<string, object>({ max: 10_000, ttl: TTL_MS });
  const dedupe = createCache({ ttl: TTL_MS / 1_000, storage: { type: 'memory', options: { size: 10_000 } } }).define(
    'user',
    async (key: string) => userOf(key),
  );
  const memory = memoryDriver({ maxItems: 10_000 });
  const bento = new BentoCache({ default: 'memory', stores: { memory: bentostore().useL1Layer(memory) } });
  const cacheable = new Cacheable({ ttl: TTL_MS });

  const load = ({ key }: { key: string }) => userOf(key);
  const contenders: Record<string, (key: string) => Promise<unknown>> = {
    getOrSet: (key) => ours.getOrSet(key, load),
    'getOrSet, early refresh and shares on': (key) => early.getOrSet(key, load),
    'async function over lru-cache': async (key) => lru.get(key) ?? userOf(key),
    'async-cache-dedupe': (key) => dedupe.user(key),
    bentocache: (key) => bento.getOrSet({ key, ttl: TTL_MS, factory: () => userOf(key) }),
    cacheable: (key) => cacheable.getOrSet(key, async () => userOf(key), { ttl: TTL_MS }),
  };
  for (const key of keys) {
    lru.set(key, userOf(key));
    for (const call of Object.values(contenders)) await call(key);
  }
  const passes = new Map<string, () => unknown>(
    Object.entries(contenders).map(([name, call]) => [
      name,
      async () => {
        for (let n = 0; n < KEYS; n++) await call(keys[n] as string);
      },
    ]),
  );
  passes.set('peek', () => {
    for (let n = 0; n < KEYS; n++) do_not_optimize(ours.peek(keys[n] as string));
  });
  passes.set('lru-cache get', () => {
    for (let n = 0; n < KEYS; n++) do_not_optimize(lru.get(keys[n] as string));
  });

  const fastest = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, pass] of passes) {
      const { p50 } = await measure(pass, { min_cpu_time: 15e6, min_samples: 5, warmup_samples: round === 0 ? 5 : 1 });
      fastest.set(name, Math.min(fastest.get(name) ?? Number.POSITIVE_INFINITY, p50 / KEYS));
    }
  }
  await Promise.all([ours.close(), early.close(), bento.disconnectAll(), cacheable.disconnect()]);

  console.log(`\na hit, ns (median of the fastest of ${ROUNDS} rounds)`);
  for (const [name, ns] of fastest) console.log(`  ${name}: ${ns.toFixed(0)}`);
  const ratio = (above: string, below: string) => (fastest.get(above) as number) / (fastest.get(below) as number);
  return [
    {
      what: 'getOrSet hit / async function over lru-cache',
      atMost: 2.5,
      measured: ratio('getOrSet', 'async function over lru-cache'),
    },
    { what: 'async-cache-dedupe / getOrSet hit', atLeast: 4, measured: ratio('async-cache-dedupe', 'getOrSet') },
    { what: 'bentocache / getOrSet hit', atLeast: 15, measured: ratio('bentocache', 'getOrSet') },
    { what: 'cacheable / getOrSet hit', atLeast: 15, measured: ratio('cacheable', 'getOrSet') },
    { what: 'peek / lru-cache get', atMost: 2.5, measured: ratio('peek', 'lru-cache get') },
  ];
}

/** Bytes for each entry beyond its key and value, typed arrays included, by how many entries there are (all that may be). */
async function heapPerEntry(): Promise<Map<number, { ours: number; lru: number }>> {
  const found = new Map<number, { ours: number; lru: number }>();
  for (const entries of [10_000, 100_000]) {
    const names = Array.from({ length: entries }, (_, n) => `user:${n}`);
    const value = Object.freeze(userOf('any'));
    const bytesOf = async (fill: () => Promise<unknown>) => {
      const before = used();
      const filled = await fill();
      const bytes = (used() - before) / entries;
      return { filled, bytes };
    };
    // A first of each leaves compiled code behind, which is not theirs.
    for (let warm = 0; warm < 2; warm++) {
      const cache = await bytesOf(async () => {
        const cache = new Cache({ ttlMs: TTL_MS, maxEntries: entries });
        // As many again leave, so that what the policy remembers of them is counted.
        for (let n = 0; n < entries; n++) await cache.set(`other:${n}`, value);
        for (const name of names) await cache.set(name, value);
        return cache;
      });
      await (cache.filled as Cache).close();
      const lru = await bytesOf(async () => {
        const lru = new LRUCache<string, object>({ max: entries, ttl: TTL_MS });
        for (let n = 0; n < entries; n++) lru.set(`other:${n}`, value);
        for (const name of names) lru.set(name, value);
        return lru;
      });
      (lru.filled as LRUCache<string, object>).clear();
      found.set(entries, { ours: cache.bytes, lru: lru.bytes });
    }
  }
  return found;
}

function used(): number {
  for (let n = 0; n < 3; n++) globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function heapGoals(found: Awaited<ReturnType<typeof heapPerEntry>>): Goal[] {
  return [...found].map(([entries, { ours, lru }]) => ({
    what: `heap for each of ${entries} entries, ${ours.toFixed(0)} bytes / lru-cache with TTL, ${lru.toFixed(0)} bytes`,
    atMost: 1.75,
    measured: ours / lru,
  }));
}
