import { createLoaders, DataLoader } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';

// The caches of views had no bounds whatever the loader's options said: one for a session, or a long stream, kept all it had ever
// loaded, and served it for as long as that lasted.
it('the cache of a view is bounded as the loader says', async () => {
  const clock = new ManualClock();
  let version = 1;
  const asked: number[] = [];
  const { for: viewFor } = createLoaders(() => ({
    prices: new DataLoader<number, number>(
      async (keys) => {
        asked.push(...keys);
        return keys.map(() => version);
      },
      { ttlMs: 100, maxEntries: 2, clock },
    ),
  }));
  const { prices } = viewFor({ session: 1 });
  for (const key of [1, 2, 3]) await prices.load(key);
  version = 2;
  await clock.advance(99);
  expect(await Promise.all([2, 3].map((key) => prices.load(key)))).toEqual([1, 1]);
  expect(await prices.load(1)).toBe(2);
  await clock.advance(1);
  expect(await prices.load(3)).toBe(2);
  expect(asked).toEqual([1, 2, 3, 1, 3]);
});
