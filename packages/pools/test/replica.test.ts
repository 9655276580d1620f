import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import { TcpProxy } from '@x/testkit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

// Two databases of one server: which one answered is told by its name. How the replica gets its data is not the pool's concern.
let server: PostgresService;
let primary: string;
let proxy: TcpProxy;
let replica: string;
const pools: PostgresPool[] = [];

beforeAll(async () => {
  server = await startPostgres();
  primary = await server.createDatabase();
  replica = await server.createDatabase();
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(async () => {
  proxy = await TcpProxy.start(server.url);
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
  await proxy[Symbol.asyncDispose]();
});

function open(options: PostgresPoolOptions = {}): PostgresPool {
  const pool = new PostgresPool({
    connectionString: primary,
    minSize: 1,
    maxSize: 3,
    replica: { connectionString: proxy.through(replica), minSize: 1, maxSize: 2 },
    ...options,
  });
  pools.push(pool);
  return pool;
}
const name = (url: string) => new URL(url).pathname.slice(1);
const text = 'select current_database() as name';
const from = 'replica';

describe('reads from a replica', () => {
  it('go there, in every way there is; everything else goes to the primary', async () => {
    const pool = open();
    await pool.start();
    expect(pool.replica?.stats().size).toBe(1);
    expect(await pool.fetchOne(text)).toEqual({ name: name(primary) });
    expect(await pool.fetchOne(text, [], { from: 'primary' })).toEqual({ name: name(primary) });
    expect(await pool.fetchOne(text, [], { from })).toEqual({ name: name(replica) });
    expect(await pool.fetchOne(text, [], { from, lane: 'shared' })).toEqual({ name: name(replica) });
    expect(await pool.transaction((tx) => tx.fetchOne(text), { from, readOnly: true })).toEqual({
      name: name(replica),
    });
    for await (const row of pool.stream(text, [], { from })) expect(row).toEqual({ name: name(replica) });
    await expect(pool.transaction(async () => {}, { from })).rejects.toThrow(/must come with readOnly: true/);
    await expect(pool.query(text, [], { from: 'nowhere' as 'replica' })).rejects.toThrow(TypeError);
    expect(() => pool.stream(text, [], { from: 'nowhere' as 'replica' })).toThrow(TypeError);
    await expect(pool.query('select 1/0', [], { from })).rejects.toMatchObject({ code: '22012' });
    expect(pool.replica?.name).toBe('postgres-replica');
    await pool.close();
    expect(pool.replica?.stats().size).toBe(0);
  });

  it('go to the primary where there is no replica', async () => {
    const pool = open({ replica: undefined });
    expect(await pool.fetchOne(text, [], { from })).toEqual({ name: name(primary) });
    for await (const row of pool.stream(text, [], { from })) expect(row).toEqual({ name: name(primary) });
  });

  it('go to the primary while the replica is away, and to the replica when it is back', async () => {
    proxy.faults.refuse = true;
    const pool = open();
    await pool.start();
    const ask = async () => (await pool.fetchOne(text, [], { from, timeoutMs: 5_000 }))?.name;
    expect(await ask()).toBe(name(primary));
    for await (const row of pool.stream(text, [], { from })) expect(row).toEqual({ name: name(primary) });
    proxy.faults.refuse = false;
    await expect.poll(ask, { timeout: 5_000 }).toBe(name(replica));
    // Lost in mid query: read again from the primary.
    const lost = pool.fetchOne(
      `select pg_sleep(case when current_database() = '${name(replica)}' then 20 else 0 end), current_database() as name`,
      [],
      { from },
    );
    await expect.poll(() => pool.replica?.stats().inUse).toBe(1);
    proxy.resetAll();
    expect((await lost)?.name).toBe(name(primary));
  });

  it('fall back after a conflict with recovery, and not after what is the fault of the read', async () => {
    const pool = open();
    const conflict = `do $$ begin if current_database() = '${name(replica)}' then
      raise 'canceling statement due to conflict with recovery' using errcode = '40001'; end if; end $$`;
    await pool.query(conflict, [], { from });
    await expect(pool.query('select nothing', [], { from })).rejects.toMatchObject({ code: '42703' });
    await expect(pool.query('select pg_sleep(20)', [], { from, timeoutMs: 30 })).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
    });
  });
});
