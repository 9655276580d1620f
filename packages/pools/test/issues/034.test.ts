// A statement whose caller had left (by an abort or a time-out) says what it did when it ends, and that was not asked for: its lock or
// setting stayed for the next borrower.
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

const open = ownDatabase();

test('what a stopped statement has left in the session is undone before the next borrower', async () => {
  await using pool = open();
  await pool.query(`create function stay() returns void language plpgsql as
    $$ begin perform pg_advisory_lock(1), set_config('app.remains', 'here', false); end $$`);
  const texts = [
    'select pg_advisory_lock(1), pg_sleep(60)',
    'select stay(), pg_sleep(60)',
    `set app.remains = 'here'; commit; select pg_sleep(60)`,
  ];
  const ways = {
    query: (text: string, options: { timeoutMs?: number; signal?: AbortSignal }) => pool.query(text, [], options),
    connect: async (text: string, options: { timeoutMs?: number; signal?: AbortSignal }) => {
      using client = await pool.connect();
      await client.query(text, [], options);
    },
    transaction: (text: string, options: { timeoutMs?: number; signal?: AbortSignal }) =>
      pool.transaction((tx) => tx.query(text, [], options)),
  };
  const left = `select (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
    coalesce(current_setting('app.remains', true), '') as setting`;
  await using watch = open();
  const sleeps = async () => {
    const text = `select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`;
    return (await watch.query(text)).rowCount;
  };
  for (const [way, run] of Object.entries(ways)) {
    for (const text of texts) {
      const controller = new AbortController();
      const aborted = run(text, { signal: controller.signal });
      aborted.catch(() => {});
      // What is to be left is there by then.
      await expect.poll(sleeps).toBe(1);
      controller.abort('gone');
      await expect(aborted).rejects.toBe('gone');
      expect(await pool.fetchOne(left), `${way}: ${text}, aborted`).toEqual({ locks: 0, setting: '' });
      await expect(run(text, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
      expect(await pool.fetchOne(left), `${way}: ${text}, timed out`).toEqual({ locks: 0, setting: '' });
    }
  }
  expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
});
