// A session that was made as new while its connection was idle put that connection before those that had been used later. So all took
// turns, none was idle for long, and a pool that had grown in a burst stayed as large as it was.
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('after a burst the connections that are not needed become idle and are closed', async () => {
  const clock = new ManualClock();
  await using pool = open({ clock, minSize: 1, maxSize: 10, maxIdleMs: 5_000 });
  const burst = [];
  // Opened one after the other, so that their sessions are not all due at the same moment.
  for (let n = 0; n < 8; n++) {
    burst.push(await pool.connect());
    await clock.advance(100);
  }
  for (const client of burst) {
    await client.query('select 1');
    client.release();
  }
  await expect.poll(() => pool.stats()).toMatchObject({ idle: 8 });
  const pids = new Set();
  for (let n = 0; n < 120; n++) {
    pids.add((await pool.fetchOne<{ pid: number }>('select pg_backend_pid() as pid'))?.pid);
    await clock.advance(50);
    await expect.poll(() => pool.stats(), { interval: 1 }).toMatchObject({ inUse: 0 });
  }
  // One is enough for one caller, and another when that is being seen to.
  expect(pids.size).toBeLessThanOrEqual(2);
  expect(pool.stats()).toMatchObject({ size: 1, created: 8, destroyed: { idle: 7 } });
});

test('those that are in use stay', async () => {
  const clock = new ManualClock();
  await using pool = open({ clock, minSize: 1, maxSize: 2, maxIdleMs: 5_000 });
  for (let n = 0; n < 10; n++) {
    const both = [await pool.connect(), await pool.connect()];
    for (const client of both) {
      await client.query('select 1');
      client.release();
    }
    // In steps, as a reset has a second by this clock.
    for (let step = 0; step < 4; step++) {
      await clock.advance(500);
      await expect.poll(() => pool.stats()).toMatchObject({ idle: 2 });
    }
  }
  expect(pool.stats()).toMatchObject({ size: 2, created: 2, destroyed: {} });
  await clock.advance(5_000);
  await expect.poll(() => pool.stats()).toMatchObject({ size: 1, destroyed: { idle: 1 } });
});
