import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

// The first connection that came to rest set the time at which all were looked at: one that was due sooner was replaced late, with the others.

const open = ownDatabase();

test('connections that are made together are not replaced together: a random tenth comes off their lifetime', async () => {
  const clock = new ManualClock();
  const random = [0, 0, 1, 0];
  await using pool = open({ clock, minSize: 2, maxSize: 3, maxLifetimeMs: 10_000, random: () => random.shift() ?? 0 });
  await pool.start();
  await clock.advance(8_999);
  expect(pool.stats()).toMatchObject({ created: 2, destroyed: {} });
  await clock.advance(1);
  await expect.poll(() => pool.stats()).toMatchObject({ created: 3, size: 2, destroyed: { lifetime: 1 } });
  await clock.advance(999);
  expect(pool.stats()).toMatchObject({ created: 3 });
  await clock.advance(1);
  await expect.poll(() => pool.stats()).toMatchObject({ created: 4, size: 2, destroyed: { lifetime: 2 } });
});
