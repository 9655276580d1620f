import { type PostgresService, startPostgres } from '@x/local-services';
import type { PostgresPool, PostgresPoolOptions } from '@x/pools/postgres';
import { TcpProxy } from '@x/testkit';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AuditedPool } from './audited-pool.ts';

// Whatever happens to the server, whatever a connection does at that moment: one documented error for its caller, no
// crash (an uncaught exception fails the run), and afterwards the pool, the process and the server agree on what is open.

let server: PostgresService;
let proxy: TcpProxy;

beforeAll(async () => {
  server = await startPostgres({ external: false });
  proxy = await TcpProxy.start(server.url);
});
afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const lost = /^(57P0[123]|ERR_CONNECTION_LOST)$/;
/** While a server is away, a call that is made again finds no connection either. */
const away = /^(ok|57P0[123]|ERR_CONNECTION_LOST|ERR_UNREACHABLE|ERR_CONNECT_FAILED|ERR_CONNECT_TIMEOUT|53300)$/;

async function postmaster(): Promise<number> {
  const client = new pg.Client(server.url);
  client.on('error', () => {});
  await client.connect();
  const { rows } = await client.query<{ file: string }>(`select pg_read_file('postmaster.pid') as file`);
  await client.end();
  return Number(rows[0]?.file.split('\n')[0]);
}

/** Signals the postmaster, waits for its end, and starts the server again. */
async function endServer(signal: NodeJS.Signals): Promise<void> {
  const pid = await postmaster();
  process.kill(pid, signal);
  await expect
    .poll(() => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    })
    .toBe(false);
  await server.restart();
}

const outcome = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    (error) => String(error.code),
  );
const works = (pool: PostgresPool) => async () => (await pool.fetchOne('select 1 as one').catch((error) => error))?.one;
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function barrier(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

function open(options: PostgresPoolOptions, url = proxy.through(server.url)): AuditedPool {
  return new AuditedPool({ connectionString: url, acquireTimeoutMs: 5_000, ...options }, server.url);
}

const faults: [string, (audited: AuditedPool) => Promise<unknown>][] = [
  ['pg_terminate_backend', (audited) => audited.terminateAll()],
  ['kill -9 of one backend', async (audited) => process.kill((await audited.backends())[0]?.pid ?? 0, 'SIGKILL')],
  ['kill -9 of the postmaster', () => endServer('SIGKILL')],
  ['kill -9 of every process', () => server.kill().then(() => server.restart())],
  ['a fast shutdown', () => endServer('SIGINT')],
  ['an immediate shutdown', () => endServer('SIGQUIT')],
  ['a restart', () => server.restart()],
  ['a reset of every connection', async () => proxy.resetAll()],
];

it.each(faults)(
  '%s is one error for whoever was at work, and the pool is in order afterwards',
  async (_name, fault) => {
    await using audited = open({ minSize: 10, maxSize: 12 });
    const { pool } = audited;
    await pool.start();
    const gate = barrier();
    let atWork = 0;
    const held = async (): Promise<void> => {
      atWork++;
      await gate.promise;
    };
    let reconnected = 0;
    const heard: string[] = [];
    const subscription = await pool.listen('news', (payload) => heard.push(payload), {
      onReconnect: () => reconnected++,
    });
    const client = await pool.connect();
    const rows = pool.stream('select generate_series(1, 2000) as n', [], { batchSize: 1_000 });
    await rows.next();
    const lent = {
      query: outcome(pool.query('select pg_sleep(60)')),
      session: outcome(pool.withConnection((session) => held().then(() => session.query('select 1')))),
      transaction: outcome(
        pool.transaction(async (tx) => {
          await tx.query('select 1');
          await held();
          await tx.query('select 2');
        }),
      ),
      commit: outcome(pool.transaction((tx) => tx.query('select 1').then(held))),
      client: outcome(held().then(() => client.query('select 1'))).finally(() => client.release()),
      stream: outcome(
        held().then(async () => {
          for await (const _row of rows);
        }),
      ),
    };
    const repeated = {
      idempotent: outcome(pool.query('select pg_sleep(0.5)', [], { idempotent: true })),
      shared: outcome(pool.query('select pg_sleep(0.5)', [], { lane: 'shared' })),
    };
    await expect.poll(() => atWork).toBe(5);
    await expect.poll(async () => (await audited.backends()).filter(({ query }) => /sleep/.test(query)).length).toBe(3);
    // Backends end one after the other: the listener must not find an idle one that still takes its LISTEN, and lose that too.
    const spare = await Promise.all(Array.from({ length: 12 - pool.stats().inUse }, () => pool.connect()));
    expect(pool.stats()).toMatchObject({ inUse: 12, idle: 0 });
    const before = audited.openSockets();
    await fault(audited);
    await expect.poll(() => pool.stats().destroyed.broken ?? 0, { timeout: 5_000 }).toBeGreaterThanOrEqual(3);
    // Those that are lent out as well: a COMMIT sent over a connection that is not yet known to be lost would be in doubt.
    await expect.poll(() => before.filter((socket) => !socket.closed), { timeout: 5_000 }).toEqual([]);
    gate.resolve();
    for (const connection of spare) connection.release();
    for (const [what, code] of Object.entries(lent)) expect(await code, what).toMatch(lost);
    for (const [what, code] of Object.entries(repeated)) expect(await code, what).toMatch(away);
    await expect.poll(() => reconnected, { timeout: 10_000 }).toBe(1);
    await expect.poll(works(pool), { timeout: 10_000 }).toBe(1);
    let told = 0;
    const tellAndHear = async (): Promise<number> => {
      await pool.query("select pg_notify('news', $1)", [String(told++)]);
      return heard.length;
    };
    await expect.poll(tellAndHear, { timeout: 10_000 }).toBeGreaterThanOrEqual(3);
    expect(heard).toEqual([...new Set(heard)]);
    expect(reconnected).toBe(1);
    await subscription.close();
    // A backend that sleeps does not notice that nobody is there to be told.
    await audited.terminateAll(`query like '%sleep(60)%'`);
    await audited.expectInOrder();
    await expect.poll(() => pool.stats().size, { timeout: 5_000 }).toBeGreaterThanOrEqual(10);
  },
);

it('restarts and crashes under load: documented errors, recovery within a second, and the pool is in order', async () => {
  await using audited = open({ minSize: 4, maxSize: 8 });
  const { pool } = audited;
  await pool.start();
  const codes = new Set<string>();
  let going = true;
  let good = 0;
  const callers = Array.from({ length: 20 }, async (_, n) => {
    while (going) {
      const lane = n % 2 === 0 ? 'shared' : 'exclusive';
      const code = await outcome(pool.query('select $1::int', [n], { lane, idempotent: n % 3 === 0 }));
      if (code === 'ok') good++;
      else {
        codes.add(code);
        await later(5);
      }
    }
  });
  const up = async (): Promise<void> => {
    const before = good;
    const since = performance.now();
    await expect.poll(() => good > before + 20, { interval: 5, timeout: 5_000 }).toBe(true);
    expect(performance.now() - since).toBeLessThan(1_000);
  };
  await up();
  for (const again of [() => server.restart(), () => endServer('SIGKILL'), () => endServer('SIGQUIT')]) {
    await again();
    await up();
  }
  await server.kill();
  await expect.poll(() => codes.has('ERR_UNREACHABLE')).toBe(true);
  await server.restart();
  await up();
  going = false;
  await Promise.all(callers);
  for (const code of codes) expect(code).toMatch(away);
  await audited.expectInOrder();
});

it('SIGSTOP costs everybody their time-out at most, and after SIGCONT the pool is in order', async () => {
  const timeouts = { commandTimeoutMs: 200, cancelTimeoutMs: 200, connectTimeoutMs: 200, acquireTimeoutMs: 1_000 };
  await using audited = open({ minSize: 8, maxSize: 8, ...timeouts }, server.url);
  const { pool } = audited;
  await pool.start();
  const client = await pool.connect();
  const frozen = barrier();
  const inTransaction = pool.transaction(async (tx) => {
    await tx.query('select 1');
    await frozen.promise;
    await tx.query('select 2');
  });
  const running = ['query', 'other', 'shared'].map((kind) =>
    pool.query('select pg_sleep(60)', [], {
      lane: kind === 'shared' ? 'shared' : 'exclusive',
      timeoutMs: 2_000,
    }),
  );
  const codes = Promise.all(running.map(outcome));
  // A cancel that overtakes its query does nothing, and after the thaw nobody is left to send it again.
  await expect.poll(async () => (await audited.backends()).filter(({ query }) => /sleep/.test(query)).length).toBe(3);
  await server.pause();
  try {
    frozen.resolve();
    const calls = [
      inTransaction,
      client.query('select 1').finally(() => client.release()),
      pool.stream('select 1').next(),
      pool.query('select 1', [], { idempotent: true }),
    ].map(outcome);
    const since = performance.now();
    expect(new Set([...(await codes), ...(await Promise.all(calls))])).toEqual(new Set(['ERR_TIMEOUT']));
    expect(performance.now() - since).toBeLessThan(5_000);
    expect(await outcome(pool.query('select 1'))).toMatch(/^(ERR_TIMEOUT|ERR_CONNECT_TIMEOUT|ERR_POOL_EXHAUSTED)$/);
  } finally {
    await server.resume();
  }
  await expect.poll(works(pool), { timeout: 5_000 }).toBe(1);
  await audited.expectInOrder();
});
