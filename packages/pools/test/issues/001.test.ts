import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('a stream that was aborted cannot commit the transaction of who got its connection next', async () => {
  await using pool = open();
  await pool.query('CREATE TABLE written (n int)');
  const controller = new AbortController();
  const rows = pool.stream('SELECT 1 AS a', [], { signal: controller.signal });
  await rows.next();
  controller.abort(new Error('gone'));

  let next: unknown;
  const other = pool.transaction(async (tx) => {
    await tx.query('INSERT INTO written VALUES (1)');
    next = await rows.next().catch((error) => error);
    throw new Error('roll me back');
  });
  await expect(other).rejects.toThrow('roll me back');
  expect(next).toBe(controller.signal.reason);
  expect(await pool.fetchOne('SELECT count(*)::int AS n FROM written')).toEqual({ n: 0 });
});

test('the signal of a transaction stops a statement that has a signal of its own', async () => {
  await using pool = open();
  const controller = new AbortController();
  const running = pool.transaction(
    (tx) => tx.query('SELECT pg_sleep(60)', [], { signal: new AbortController().signal }),
    { signal: controller.signal },
  );
  await using watch = open();
  const sleeping = async () =>
    (await watch.fetch(`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'`))
      .length;
  while ((await sleeping()) === 0);
  controller.abort(new Error('enough'));
  await expect(running).rejects.toBe(controller.signal.reason);
  // The only connection is free again long before the sleep would have ended.
  expect(await pool.fetchOne('SELECT 1 AS one')).toEqual({ one: 1 });
  expect(await sleeping()).toBe(0);
});
