// Each read or load under way kept a copy of all tags deleted meanwhile, and copied it at each deletion: with a thousand loads in flight,
// the five hundredth deleteByTag held the process for 50 ms, and each one longer than the one before.
import { Cache, type RemoteEntry } from '@x/cache';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from '../map-tier.ts';

test('a deletion by tag costs the same however many there were while loads run', async () => {
  const cache = new Cache();
  const finish: ((value: number) => void)[] = [];
  const loads = Array.from({ length: 1_000 }, (_, n) =>
    cache.getOrSet(`k${n}`, () => new Promise<number>((resolve) => finish.push(resolve)), { tags: [`own${n}`] }),
  );
  const startedAt = performance.now();
  for (let n = 0; n < 500; n++) await cache.deleteByTag(`tag${n}`);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  await cache.deleteByTag('own7');
  for (const [n, resolve] of finish.entries()) resolve(n);
  expect(await Promise.all(loads)).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  expect(cache.peek('k6')).toBe(6);
  expect(cache.peek('k7')).toBeUndefined();
});

/** A tier whose answers to `get` the test gives, and from which nothing is deleted by tag. */
class SlowTier extends MapTier {
  answer: () => void = () => {};

  override async get(key: string): Promise<RemoteEntry | undefined> {
    const found = await super.get(key);
    await new Promise<void>((resolve) => {
      this.answer = resolve;
    });
    return found;
  }

  override async deleteByTag(): Promise<void> {}
}

test.each([
  ['other tags', [], 100, true],
  ['its tag', ['t'], 100, false],
  ['more tags than are remembered', [], 10_001, false],
  ['its tag and more than are remembered', ['t'], 10_001, false],
])('what was on its way from the remote tier during the deletion of %s', async (_, own, others, kept) => {
  const store = new MapStore();
  const slow = new SlowTier(store);
  await new Cache({ clock: store.clock, remote: new MapTier(store) }).set('k', 'value', { tags: ['t'] });
  const cache = new Cache({ clock: store.clock, remote: slow });
  const read = async (meanwhile: () => Promise<unknown>) => {
    const reading = cache.get('k');
    await store.clock.advance(0);
    await meanwhile();
    slow.answer();
    expect(await reading).toBe('value');
  };
  const tags = [...own, ...Array.from({ length: others }, (_, n) => `other${n}`)];
  await read(async () => {
    for (let from = 0; from < tags.length; from += 50) await cache.deleteByTag(tags.slice(from, from + 50));
  });
  expect(cache.peek('k')).toBe(kept ? 'value' : undefined);
  // One that begins after all that is not concerned by it.
  await read(async () => {});
  expect(cache.peek('k')).toBe('value');
});
