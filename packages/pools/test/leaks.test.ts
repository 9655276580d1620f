import { startPostgres } from '@x/local-services';
import { PostgresPool } from '@x/pools/postgres';
import pg from 'pg';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, later, open, serve } from './http-server.ts';

afterEach(cleanUp);

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;

it('PostgreSQL: after hundreds of calls with random faults, every connection is in the books and idle', async () => {
  await using server = await startPostgres();
  const connectionString = await server.createDatabase();
  const admin = new pg.Client(connectionString);
  await admin.connect();
  const backends = async () =>
    (
      await admin.query(
        `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
      )
    ).rows;
  const pool = new PostgresPool({ connectionString, minSize: 2, maxSize: 5, maxUses: 20, commandTimeoutMs: 1_000 });
  await pool.start();
  const abortSoon = () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort('gone'), Math.random() * 10);
    return controller.signal;
  };
  const operations = [
    () => pool.query('select 1'),
    () => pool.query('select 1/0'),
    () => pool.query('select pg_sleep(0.005)', [], { signal: abortSoon() }),
    () => pool.query('select pg_sleep(0.02)', [], { timeoutMs: 1 + Math.random() * 20 }),
    () => pool.withConnection((connection) => connection.query('begin'), { signal: abortSoon() }),
    () => pool.transaction((tx) => tx.query('select pg_sleep(0.01)'), { signal: abortSoon() }),
    () => pool.transaction(async (tx) => tx.query('select 1/0').catch(() => {})),
    () => pool.stream('select generate_series(1, 3000)', [], { signal: abortSoon() }).next(),
    async () => {
      for await (const _row of pool.stream('select generate_series(1, 3000)')) if (Math.random() < 0.01) break;
    },
    () => pool.query('select pg_terminate_backend(pg_backend_pid())'),
  ];
  const outcomes: PromiseSettledResult<unknown>[] = [];
  for (let round = 0; round < 12; round++) {
    outcomes.push(...(await Promise.allSettled(Array.from({ length: 40 }, () => pick(operations)()))));
  }
  const unknown = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' || outcome.reason === 'gone' || typeof outcome.reason?.code === 'string'
      ? []
      : [outcome.reason],
  );
  expect(unknown).toEqual([]);
  await expect.poll(() => pool.stats()).toMatchObject({ waiting: 0, inUse: 0 });
  const { created, destroyed, size } = pool.stats();
  expect(created - Object.values(destroyed).reduce((sum, n) => sum + n, 0)).toBe(size);
  await pool.close({ timeoutMs: 100 });
  await expect.poll(backends).toEqual([]);
  await admin.end();
});

it('HTTP: after hundreds of calls with random faults, every connection is in the books and idle', async () => {
  const { url, sockets } = await serve((request, response) => {
    if (request.url === '/reset') return request.socket.destroy();
    if (request.url === '/half')
      return response.writeHead(200, { 'content-length': 10 }).write('half', () => response.destroy());
    if (request.url === '/large') return response.end(Buffer.alloc(300_000));
    if (request.url === '/redirect') return response.writeHead(302, { location: '/' }).end('x'.repeat(100_000));
    return setTimeout(() => response.end('ok'), Math.random() * 5);
  });
  const http = open({ maxConnections: 6, maxResponseBytes: 500_000, timeoutMs: 2_000 });
  const abortSoon = () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort('gone'), Math.random() * 10);
    return controller.signal;
  };
  const operations = [
    () => http.get(url).then((response) => response.text()),
    () => http.get(url, { signal: abortSoon() }).then((response) => response.text()),
    () => http.post(url, { body: 'x', timeoutMs: 1 + Math.random() * 10 }),
    () => http.get(`${url}/reset`),
    () => http.get(`${url}/half`).then((response) => response.text()),
    () => http.get(`${url}/large`, { timeoutMs: 100 }),
    () => http.get(`${url}/large`).then((response) => response.stream().cancel()),
    () => http.get(`${url}/large`).then((response) => response.bytes()),
    () => http.get(`${url}/redirect`).then((response) => response.text()),
    () => http.getJson(url),
  ];
  for (let round = 0; round < 12; round++) {
    for (const outcome of await Promise.allSettled(Array.from({ length: 40 }, () => pick(operations)()))) {
      if (outcome.status === 'rejected' && outcome.reason !== 'gone') expect(outcome.reason.code).toMatch(/^ERR_/);
    }
    expect(http.stats().connections).toBeLessThanOrEqual(6);
  }
  await expect.poll(() => http.stats(), { timeout: 5_000 }).toMatchObject({ inFlight: 0, queued: 0 });
  await later(20);
  const { connections, idle } = http.stats();
  expect(idle).toBe(connections);
  expect(sockets.size).toBe(connections);
  expect(await (await http.get(url)).text()).toBe('ok');
});
