import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

interface Entry {
  value: number | null;
  freshUntil: number;
  /** Of the stale window; 0 for none. */
  staleMs: number;
  slideMs: number;
  tags: string[];
}

/** What a cache without bounds would hold, said as plainly as possible. */
interface Model {
  now: number;
  entries: Map<string, Entry>;
}

interface Real {
  cache: Cache;
  clock: ManualClock;
  maxEntries: number;
}

type Command = fc.AsyncCommand<Model, Real>;

const keys = ['a', 'b', 'c', 'user:1', 'user:2', '__proto__'];
// Often the same one, so that what is done to a key adds up.
const key = fc.constantFrom('a', 'a', 'a', ...keys);
/** Null is a value like others. */
const value = fc.option(fc.nat());
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

/** A reader's use of a key: its fresh value. What memory had to give up is no longer in the model. */
function use(model: Model, { cache }: Real, name: string): number | null | undefined {
  const entry = model.entries.get(name);
  if (entry === undefined || model.now >= entry.freshUntil || cache.peek(name) === undefined) return undefined;
  if (entry.slideMs > 0) entry.freshUntil = model.now + entry.slideMs;
  return entry.value;
}

function goneAt({ freshUntil, staleMs }: Entry): number {
  return freshUntil + staleMs;
}

function forget(model: Model, concerns: (name: string, tags: string[]) => boolean): void {
  for (const [name, entry] of model.entries) if (concerns(name, entry.tags)) model.entries.delete(name);
}

const commands = [
  fc
    .record({
      name: key,
      value,
      ttlMs: fc.constantFrom(0, 1, 10, 1_000, 40_000, 3_000_000_000, Number.POSITIVE_INFINITY),
      staleIfErrorMs: fc.constantFrom(0, 50),
      sliding: fc.boolean(),
      tagged: tags,
    })
    .map(({ name, value, ttlMs, staleIfErrorMs, sliding, tagged }) =>
      command(
        `set(${name}, ${value}, ${ttlMs} + ${staleIfErrorMs}${sliding ? ' sliding' : ''}, [${tagged}])`,
        async (model, { cache }) => {
          await cache.set(name, value, { ttlMs, staleIfErrorMs, sliding, tags: tagged });
          model.entries.delete(name);
          if (ttlMs === 0) return;
          const slideMs = sliding ? ttlMs : 0;
          model.entries.set(name, {
            value,
            freshUntil: model.now + ttlMs,
            staleMs: staleIfErrorMs,
            slideMs,
            tags: tagged,
          });
        },
      ),
    ),
  fc.tuple(key, value).map(([name, value]) =>
    command(`getOrSet(${name}, ${value})`, async (model, real) => {
      const fresh = use(model, real, name);
      const got = await real.cache.getOrSet(name, () => value, { ttlMs: 100 });
      expect(got).toBe(fresh === undefined ? value : fresh);
      if (fresh === undefined) {
        model.entries.set(name, { value, freshUntil: model.now + 100, staleMs: 0, slideMs: 0, tags: [] });
      }
    }),
  ),
  key.map((name) =>
    command(`getOrSet(${name}) failing`, async (model, real) => {
      const { cache, maxEntries } = real;
      const evicted = maxEntries < keys.length && (await cache.lookup(name)) === undefined;
      const entry = evicted ? undefined : model.entries.get(name);
      const fresh = use(model, real, name);
      const stale = entry !== undefined && model.now < goneAt(entry) ? entry.value : 'failed';
      const served = fresh === undefined ? stale : fresh;
      expect(await cache.getOrSet(name, () => Promise.reject(new Error('x'))).catch(() => 'failed')).toBe(served);
    }),
  ),
  key.map((name) =>
    command(`get(${name})`, async (model, real) => {
      const fresh = use(model, real, name);
      expect(await real.cache.get(name)).toBe(fresh);
    }),
  ),
  fc.uniqueArray(key, { minLength: 1 }).map((some) =>
    command(`getMany(${some})`, async (model, real) => {
      const fresh = some.map((name) => use(model, real, name));
      expect(await real.cache.getMany(some)).toEqual(fresh);
    }),
  ),
  fc.tuple(fc.uniqueArray(key, { minLength: 1, maxLength: 3 }), value).map(([some, value]) =>
    command(`getOrSetMany(${some}, ${value})`, async (model, real) => {
      const fresh = some.map((name) => use(model, real, name));
      const got = await real.cache.getOrSetMany(some, (asked) => asked.map(() => value), { ttlMs: 70 });
      expect(got).toEqual(fresh.map((known) => (known === undefined ? value : known)));
      some.forEach((name, index) => {
        if (fresh[index] !== undefined) return;
        model.entries.set(name, { value, freshUntil: model.now + 70, staleMs: 0, slideMs: 0, tags: [] });
      });
    }),
  ),
  key.map((name) =>
    command(`lookup(${name})`, async (model, { cache, maxEntries }) => {
      const entry = model.entries.get(name);
      const found = await cache.lookup(name);
      if (entry === undefined || model.now >= goneAt(entry)) expect(found).toBeUndefined();
      else if (maxEntries >= keys.length || found !== undefined) {
        expect(found).toMatchObject({
          value: entry.value,
          ttlMs: Math.max(0, entry.freshUntil - model.now),
          stale: model.now >= entry.freshUntil,
        });
      }
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
      forget(model, (name) => model.now >= goneAt(model.entries.get(name) as Entry));
      if (maxEntries >= keys.length) expect(cache.stats().entries).toBe(model.entries.size);
    }),
  ),
  fc.constantFrom(1, 9, 10, 50, 500, 31_000).map((ms) =>
    command(`advance(${ms})`, async (model, { clock }) => {
      await clock.advance(ms);
      model.now += ms;
    }),
  ),
  fc.constantFrom(5, 100, 35_000, 2_147_483_648).map((ms) =>
    command(`stopped for ${ms}`, async (model, { clock }) => {
      clock.jump(ms);
      model.now += ms;
    }),
  ),
  fc.constantFrom(-86_400_000, -1, 3_600_000).map((ms) =>
    command(`wall clock steps by ${ms}`, async (_, { clock }) => {
      clock.stepWall(ms);
    }),
  ),
];

test.each([
  ['with room for all', 100, undefined],
  ['full, LRU', 3, 'lru'],
  ['full, S3-FIFO', 3, 's3-fifo'],
  ['full, S3-FIFO, larger', 5, 's3-fifo'],
] as const)('the memory tier does what a naive map would: %s', async (_, maxEntries, policy) => {
  await fc.assert(
    fc.asyncProperty(fc.commands(commands, { maxCommands: 100, size: 'max' }), (steps) =>
      fc.asyncModelRun(() => {
        const clock = new ManualClock();
        const cache = new Cache({ maxEntries, policy, clock });
        return { model: { now: clock.now(), entries: new Map() }, real: { cache, clock, maxEntries } };
      }, steps),
    ),
    { numRuns: 400 },
  );
});
