import { Cache } from '@x/cache';
import fc from 'fast-check';
import { expect, test } from 'vitest';

/** A policy said as plainly as possible: keys in arrays, the front first. */
interface NaivePolicy {
  added(key: string): void;
  touched(key: string): void;
  removed(key: string): void;
  evict(): string;
  clear(): void;
}

function take(queue: string[], key: string): void {
  if (queue.includes(key)) queue.splice(queue.indexOf(key), 1);
}

class NaiveLru implements NaivePolicy {
  readonly #keys: string[] = [];

  added(key: string): void {
    this.#keys.unshift(key);
  }

  touched(key: string): void {
    take(this.#keys, key);
    this.#keys.unshift(key);
  }

  removed(key: string): void {
    take(this.#keys, key);
  }

  evict(): string {
    return this.#keys.pop() as string;
  }

  clear(): void {
    this.#keys.length = 0;
  }
}

/** Its ghost queue remembers each of the keys evicted last, where that of the cache may forget one when many share a place. */
class NaiveS3Fifo implements NaivePolicy {
  readonly #remembered: number;
  readonly #small: string[] = [];
  readonly #main: string[] = [];
  readonly #hits = new Map<string, number>();
  readonly #evictedAs = new Map<string, number>();
  #evictions = 0;

  constructor(maxEntries: number) {
    this.#remembered = 2 * maxEntries;
  }

  added(key: string): void {
    const evictedAs = this.#evictedAs.get(key);
    this.#evictedAs.delete(key);
    this.#hits.set(key, 0);
    const returned = evictedAs !== undefined && this.#evictions - evictedAs < this.#remembered;
    (returned ? this.#main : this.#small).unshift(key);
  }

  touched(key: string): void {
    this.#hits.set(key, Math.min(3, (this.#hits.get(key) ?? 0) + 1));
  }

  removed(key: string): void {
    take(this.#small, key);
    take(this.#main, key);
  }

  evict(): string {
    for (;;) {
      const fromSmall = this.#small.length * 10 >= this.#small.length + this.#main.length;
      const key = (fromSmall ? this.#small : this.#main).pop() as string;
      const hits = this.#hits.get(key) ?? 0;
      if (hits === 0) {
        if (fromSmall) this.#evictedAs.set(key, ++this.#evictions);
        return key;
      }
      this.#hits.set(key, fromSmall ? 0 : hits - 1);
      this.#main.unshift(key);
    }
  }

  clear(): void {
    this.#small.length = 0;
    this.#main.length = 0;
    this.#evictedAs.clear();
  }
}

const MAX_ENTRIES = 20;
/** Names that spread over the ghost queue so that it forgets none too early. */
const keys = Array.from({ length: 44 }, (_, n) => `cx${n}`);
const key = fc.oneof(fc.constantFrom(...keys), fc.constantFrom(...keys.slice(0, 8)));

const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ what: fc.constant('getOrSet' as const), key }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constantFrom('get' as const, 'set' as const), key }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('delete' as const), key }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constantFrom('clear' as const, 'peek' as const), key }) },
);

test.each([
  ['lru', () => new NaiveLru()],
  ['s3-fifo', () => new NaiveS3Fifo(MAX_ENTRIES)],
] as const)('%s evicts in the order that its plainest form gives', async (policy, create) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 500, size: 'max' }), async (steps) => {
      const cache = new Cache({ maxEntries: MAX_ENTRIES, policy });
      const naive = create();
      const held = new Set<string>();
      const expected: string[] = [];
      const evicted: string[] = [];
      cache.on('eviction', ({ key }) => evicted.push(key));
      for (const { what, key } of steps) {
        const isHeld = held.has(key);
        if (what === 'peek') expect(cache.peek(key) !== undefined).toBe(isHeld);
        else if (what === 'get') await cache.get(key);
        else if (what === 'set') await cache.set(key, 1);
        else if (what === 'getOrSet') await cache.getOrSet(key, () => 1);
        else if (what === 'delete') await cache.delete(key);
        else await cache.clear();

        if (what === 'delete' && held.delete(key)) naive.removed(key);
        else if (what === 'clear') {
          held.clear();
          naive.clear();
        } else if (isHeld && what !== 'peek' && what !== 'delete') naive.touched(key);
        else if (what === 'set' || what === 'getOrSet') {
          if (held.size === MAX_ENTRIES) {
            const gone = naive.evict();
            held.delete(gone);
            expected.push(gone);
          }
          held.add(key);
          naive.added(key);
        }
        expect(evicted).toEqual(expected);
      }
    }),
    { numRuns: 400 },
  );
});

test('under S3-FIFO what comes back soon stays, and what comes back late is a newcomer again', async () => {
  const names = Array.from({ length: 100 }, (_, n) => `name ${n}`);
  const stays = async (name: string, evictionsLater: number) => {
    const cache = new Cache({ maxEntries: 10, policy: 's3-fifo' });
    let scanned = 0;
    const scan = async (entries: number) => {
      for (let n = 0; n < entries; n++) await cache.set(`scanned ${scanned++}`, 1);
    };
    // The ghost queue is full of others when it comes to be remembered.
    await scan(200);
    await cache.set(name, 1);
    await scan(10 + evictionsLater);
    expect(cache.peek(name)).toBeUndefined();
    await cache.set(name, 1);
    await scan(50);
    return cache.peek(name) !== undefined;
  };
  const staying = async (evictionsLater: number) => {
    const answers = await Promise.all(names.map((name) => stays(name, evictionsLater)));
    return answers.filter(Boolean).length;
  };
  // One that comes back pushes out another first, which counts too.
  expect(await staying(19)).toBe(0);
  // Of the keys that are remembered few are pushed out by younger ones.
  expect(await staying(18)).toBeGreaterThan(50);
  expect(await staying(5)).toBeGreaterThan(90);
});

test('entries keep their queue while memory grows: many small ones in the place of a few large ones', async () => {
  const cache = new Cache({ maxBytes: 40_000, policy: 's3-fifo' });
  const gone: string[] = [];
  cache.on('eviction', ({ key }) => gone.push(key));
  const large = Array.from({ length: 30 }, (_, n) => `large ${n}`);
  for (const key of large) await cache.set(key, 'x'.repeat(3_000));
  for (const key of large) await cache.get(key);
  // What is left of them goes to the main queue as room is wanted.
  for (let n = 0; n < 100; n++) await cache.set(`small ${n}`, 1);
  const left = large.filter((key) => cache.peek(key) !== undefined);
  for (const key of left.slice(4)) await cache.delete(key);
  expect(cache.stats().entries).toBeLessThan(64);
  for (let n = 100; n < 200; n++) await cache.set(`small ${n}`, 1);
  expect(cache.stats().entries).toBeGreaterThan(64);
  for (const key of left.slice(0, 4)) expect(await cache.delete(key)).toBe(true);
  for (let n = 200; n < 3_000; n++) {
    await cache.set(`small ${n}`, 1);
    if (n % 2 === 0) await cache.get(`small ${n}`);
  }
  expect(gone).not.toContain('');
  expect(new Set(gone).size).toBe(gone.length);
  const kept = Array.from({ length: 3_000 }, (_, n) => cache.peek(`small ${n}`)).filter((value) => value !== undefined);
  expect(kept).toHaveLength(cache.stats().entries);
});
