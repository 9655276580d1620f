import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

/** What a cache without bounds would hold, said as plainly as possible. */
interface Model {
  now: number;
  entries: Map<string, { value: number; freshUntil: number; goneAt: number; tags: string[] }>;
}

interface Real {
  cache: Cache;
  clock: ManualClock;
  maxEntries: number;
}

type Command = fc.AsyncCommand<Model, Real>;

const keys = ['a', 'b', 'c', 'user:1', 'user:2', '__proto__'];
const key = fc.constantFrom(...keys);
const tags = fc.uniqueArray(fc.constantFrom('x', 'y', 'z'));

function command(name: string, run: (model: Model, real: Real) => Promise<unknown>): Command {
  return {
    check: () => true,
    run: async (model, real) => {
      await run(model, real);
      agree(model, real);
    },
    toString: () => name,
  };
}

/** Everything in the cache is in the model; while there is room, the other way round too. */
function agree(model: Model, { cache, maxEntries }: Real): void {
  for (const name of keys) {
    const expected = model.entries.get(name);
    const fresh = expected !== undefined && model.now < expected.freshUntil ? expected.value : undefined;
    if (maxEntries >= keys.length || cache.peek(name) !== undefined) expect(cache.peek(name)).toBe(fresh);
  }
  const { entries, bytes } = cache.stats();
  expect(entries).toBeLessThanOrEqual(maxEntries);
  expect(bytes === 0).toBe(entries === 0);
}

function forget(model: Model, concerns: (name: string, tags: string[]) => boolean): void {
  for (const [name, entry] of model.entries) if (concerns(name, entry.tags)) model.entries.delete(name);
}

const commands = [
  fc
    .tuple(key, fc.nat(), fc.constantFrom(1, 10, 1_000, 40_000), fc.constantFrom(0, 50), tags)
    .map(([name, value, ttlMs, staleIfErrorMs, tagged]) =>
      command(`set(${name}, ${value}, ${ttlMs} + ${staleIfErrorMs}, [${tagged}])`, async (model, { cache }) => {
        await cache.set(name, value, { ttlMs, staleIfErrorMs, tags: tagged });
        const freshUntil = model.now + ttlMs;
        model.entries.set(name, { value, freshUntil, goneAt: freshUntil + staleIfErrorMs, tags: tagged });
      }),
    ),
  fc.tuple(key, fc.nat()).map(([name, value]) =>
    command(`getOrSet(${name}, ${value})`, async (model, { cache, maxEntries }) => {
      const entry = model.entries.get(name);
      const fresh = entry !== undefined && model.now < entry.freshUntil ? entry.value : undefined;
      const evicted = maxEntries < keys.length && cache.peek(name) === undefined;
      const got = await cache.getOrSet(name, () => value, { ttlMs: 100 });
      if (fresh !== undefined && !evicted) {
        expect(got).toBe(fresh);
        return;
      }
      expect(got).toBe(value);
      model.entries.set(name, { value, freshUntil: model.now + 100, goneAt: model.now + 100, tags: [] });
    }),
  ),
  key.map((name) =>
    command(`getOrSet(${name}) failing`, async (model, { cache, maxEntries }) => {
      const entry = model.entries.get(name);
      const evicted = maxEntries < keys.length && (await cache.lookup(name)) === undefined;
      const served = entry !== undefined && model.now < entry.goneAt && !evicted ? entry.value : 'failed';
      expect(await cache.getOrSet(name, () => Promise.reject(new Error('x'))).catch(() => 'failed')).toBe(served);
    }),
  ),
  key.map((name) =>
    command(`delete(${name})`, async (model, { cache }) => {
      await cache.delete(name);
      model.entries.delete(name);
    }),
  ),
  key.map((name) =>
    command(`expire(${name})`, async (model, { cache }) => {
      await cache.expire(name);
      const entry = model.entries.get(name);
      if (entry === undefined || entry.freshUntil <= model.now) return;
      entry.goneAt -= entry.freshUntil - model.now;
      entry.freshUntil = model.now;
    }),
  ),
  fc.constantFrom('x', 'y').map((tag) =>
    command(`deleteByTag(${tag})`, async (model, { cache }) => {
      await cache.deleteByTag(tag);
      forget(model, (_, tagged) => tagged.includes(tag));
    }),
  ),
  fc.constantFrom('user:*', '*', 'a*', '*:1').map((pattern) =>
    command(`deleteByPattern(${pattern})`, async (model, { cache }) => {
      await cache.deleteByPattern(pattern);
      const matcher = new RegExp(`^${pattern.replace('*', '.*')}$`);
      forget(model, (name) => matcher.test(name));
    }),
  ),
  fc.constant(
    command('clear()', async (model, { cache }) => {
      await cache.clear();
      model.entries.clear();
    }),
  ),
  fc.constant(
    command('prune()', async (model, { cache, maxEntries }) => {
      cache.prune();
      forget(model, (name) => model.now >= (model.entries.get(name)?.goneAt ?? 0));
      if (maxEntries >= keys.length) expect(cache.stats().entries).toBe(model.entries.size);
    }),
  ),
  fc.constantFrom(1, 9, 10, 50, 500, 31_000).map((ms) =>
    command(`advance(${ms})`, async (model, { clock }) => {
      await clock.advance(ms);
      model.now += ms;
    }),
  ),
];

test.each([
  ['with room for all', 100, undefined],
  ['full, LRU', 3, 'lru'],
  ['full, S3-FIFO', 3, 's3-fifo'],
] as const)('the memory tier does what a naive map would: %s', async (_, maxEntries, policy) => {
  await fc.assert(
    fc.asyncProperty(fc.commands(commands, { maxCommands: 60 }), (steps) =>
      fc.asyncModelRun(() => {
        const clock = new ManualClock();
        const cache = new Cache({ maxEntries, policy, clock });
        return { model: { now: clock.now(), entries: new Map() }, real: { cache, clock, maxEntries } };
      }, steps),
    ),
    { numRuns: 60 },
  );
});
