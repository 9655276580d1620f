import { AsyncLocalStorage } from 'node:async_hooks';
import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import { TcpProxy } from '@x/testkit';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

let server: PostgresService;
let url: string;
let admin: pg.Client;
const pools: PostgresPool[] = [];

beforeAll(async () => {
  server = await startPostgres();
  url = await server.createDatabase();
  admin = new pg.Client({ connectionString: url });
  await admin.connect();
});
afterAll(async () => {
  await admin?.end();
  await server?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(options: PostgresPoolOptions = {}): PostgresPool {
  const pool = new PostgresPool({ connectionString: url, minSize: 0, maxSize: 3, ...options });
  pools.push(pool);
  return pool;
}
const notify = (channel: string, payload: string) => admin.query('select pg_notify($1, $2)', [channel, payload]);
/** Notifies until it is heard: the only way to know that the server listens again. */
const heard = (list: string[], channel: string, payload: string) =>
  expect
    .poll(
      async () => {
        await notify(channel, payload);
        return list;
      },
      { timeout: 10_000 },
    )
    .toContain(payload);
const terminateOthers = () =>
  admin.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  );

describe('listen()', () => {
  it('tells of what is notified on a channel of any name, all channels over one connection', async () => {
    const pool = open({ leakDetectionMs: 1 });
    pool.on('leak', () => expect.unreachable());
    const got: string[] = [];
    const caller = new AsyncLocalStorage<string>();
    const odd = 'O"dd; name';
    const first = await caller.run('me', () =>
      pool.listen(odd, (payload, { channel, processId }) => {
        got.push(`${caller.getStore()} ${channel} ${payload} ${processId > 0}`);
        throw new Error('a bad listener');
      }),
    );
    await using _second = await pool.listen(odd, (payload) => got.push(`second ${payload}`));
    const third = await pool.listen('other', (payload) => got.push(`third ${payload}`));
    expect(pool.stats()).toMatchObject({ size: 1, inUse: 1 });
    await notify(odd, 'a');
    await notify('other', '');
    await notify('nobody', 'b');
    await expect.poll(() => got).toEqual([`me ${odd} a true`, 'second a', 'third ']);
    await first.close();
    await third.close();
    await notify('other', 'c');
    await notify(odd, 'd');
    await expect.poll(() => got.slice(3)).toEqual(['second d']);
  });

  it('gives its connection back, as new, when nobody listens any more', async () => {
    const pool = open({ maxSize: 1 });
    const controller = new AbortController();
    const got: string[] = [];
    await pool.listen('a', (payload) => got.push(payload), { signal: controller.signal });
    const once = await pool.listen('b', () => {});
    await once.close();
    await once.close();
    controller.abort();
    await expect.poll(() => pool.stats()).toMatchObject({ size: 1, inUse: 0 });
    expect(await pool.fetch('select pg_listening_channels()')).toEqual([]);
    await notify('a', 'late');
    await pool.query('select 1');
    expect(got).toEqual([]);
    await using _again = await pool.listen('a', (payload) => got.push(payload));
    await heard(got, 'a', 'again');
  });

  it('listens again after its connection was killed, and says that something may have been missed', async () => {
    const pool = open();
    const got: string[] = [];
    let reconnects = 0;
    await pool.listen('news', (payload) => got.push(payload), { onReconnect: () => reconnects++ });
    for (let n = 1; n <= 2; n++) {
      await terminateOthers();
      await expect.poll(() => reconnects).toBe(n);
      await notify('news', `${n}`);
      await expect.poll(() => got).toContain(`${n}`);
    }
    expect(pool.stats()).toMatchObject({ size: 1, inUse: 1, destroyed: { broken: 2 } });
  });

  it('goes on trying while the server is away', async () => {
    await using proxy = await TcpProxy.start(url);
    const pool = open({ connectionString: proxy.through(url) });
    const got: string[] = [];
    await pool.listen('news', (payload) => got.push(payload));
    proxy.faults.refuse = true;
    proxy.resetAll();
    await expect.poll(() => pool.stats().size).toBe(0);
    await expect(pool.query('select 1')).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_CONNECT/) });
    await expect(pool.listen('more', () => {})).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_CONNECT/) });
    proxy.faults.refuse = false;
    await heard(got, 'news', 'back');
  });

  it('finds out by itself that nobody is at the other end', async () => {
    await using proxy = await TcpProxy.start(url);
    const pool = open({ connectionString: proxy.through(url), listenCheckMs: 20, cancelTimeoutMs: 200 });
    let reconnected = false;
    const got: string[] = [];
    await pool.listen('news', (payload) => got.push(payload), { onReconnect: () => (reconnected = true) });
    await heard(got, 'news', 'one');
    proxy.faults.blackHole = true;
    await expect.poll(() => pool.stats().destroyed.broken, { timeout: 15_000 }).toBe(1);
    proxy.faults.blackHole = false;
    proxy.resetAll();
    await heard(got, 'news', 'two');
    expect(reconnected).toBe(true);
  });

  it('does not keep close() waiting, and is refused after it', async () => {
    const pool = open();
    const subscription = await pool.listen('news', () => {});
    await pool.close({ timeoutMs: 60_000 });
    await subscription.close();
    await expect(pool.listen('news', () => {})).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    expect(pool.stats().size).toBe(0);
  });

  it('can be given up while it waits, and rejects when the server cannot be reached', async () => {
    const pool = open({ maxSize: 1 });
    const held = await pool.connect();
    const controller = new AbortController();
    const listening = pool.listen('news', () => {}, { signal: controller.signal }).catch((error) => error);
    controller.abort('left');
    expect(await listening).toBe('left');
    held.release();
    await expect.poll(() => pool.stats()).toMatchObject({ inUse: 0, waiting: 0 });
    const away = open({ connectionString: 'postgres://nobody@127.0.0.1:1/db' });
    await expect(away.listen('news', () => {})).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' });
  });
});
