import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { ownDatabase } from './own-database.ts';

const open = ownDatabase();

it('a call leaves no listener on its signal, however it ends', async () => {
  await using pool = open({ acquireTimeoutMs: 50 });
  await pool.start();
  const { signal } = new AbortController();
  const calls: (() => Promise<unknown>)[] = [
    () => pool.query('select 1', [], { signal }),
    () => pool.query('select 1/0', [], { signal }),
    () => pool.query('select pg_sleep(60)', [], { signal, timeoutMs: 10 }),
    () => pool.query('select 1', [], { signal, lane: 'shared' }),
    () => pool.query('select 1/0', [], { signal, lane: 'shared' }),
    () => pool.query('select pg_sleep(60)', [], { signal, lane: 'shared', timeoutMs: 10 }),
    () => pool.withConnection((session) => session.query('select 1', [], { signal }), { signal }),
    () => pool.transaction((tx) => tx.transaction((inner) => inner.query('select 1/0'), { signal }), { signal }),
    () => pool.insertMany('nowhere', ['a'], [[1]], { signal }),
    async () => {
      for await (const _row of pool.stream('select generate_series(1, 10)', [], { signal, batchSize: 3 })) break;
    },
    async () => {
      const subscription = await pool.listen('news', () => {}, { signal });
      await subscription.close();
    },
    async () => (await pool.connect({ signal })).release(),
    async () => {
      const held = await pool.connect();
      await expect(pool.query('select 1', [], { signal })).rejects.toMatchObject({ code: 'ERR_POOL_EXHAUSTED' });
      const served = pool.query('select 1', [], { signal });
      held.release();
      await served;
    },
  ];
  for (const call of calls) {
    await call().catch(() => {});
    expect(getEventListeners(signal, 'abort'), `${call}`).toEqual([]);
    await expect.poll(() => pool.stats().inUse).toBe(0);
  }
});
