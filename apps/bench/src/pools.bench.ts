import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool } from '@x/pools/postgres';
import pg from 'pg';
import postgres from 'postgres';
import { type Contenders, median, Rounds, verdict } from './pools-rounds.ts';
import { pgbench, rawWire } from './pools-wire.ts';

const ours = '@x/pools';
const shared = '@x/pools, shared lane';
const peer = 'pg.Pool';
const text = 'select $1::int as n';
const values = [1];

/** PostgresPool beside pg.Pool and postgres.js over one server, with pgbench and the wire as what there is to be had. */
export async function runPoolsBench(): Promise<void> {
  await using server = await startPostgres({ external: false });
  const { url } = server;
  await throughput(url);
  await bytes(url);
  await inserts(url);
  await coldStart('SCRAM', server);
  await using trusting = await startTrusting();
  await coldStart('trust', trusting.server);
}

async function throughput(connectionString: string): Promise<void> {
  await using pool = new PostgresPool({ connectionString, minSize: 20, maxSize: 20 });
  await pool.start();
  const pgPool = new pg.Pool({ connectionString, max: 20 });
  await Promise.all(Array.from({ length: 20 }, () => pgPool.query('select pg_sleep(0.05)')));
  const sql = postgres(connectionString, { max: 20 });
  await Promise.all(Array.from({ length: 20 }, () => sql`select pg_sleep(0.05)`));
  const pipeline = new pg.Client({ connectionString, pipeline: true } as pg.ClientConfig);
  await pipeline.connect();
  const wire = await rawWire(connectionString);
  const unprepared: Contenders = {
    [ours]: () => pool.query(text, values),
    [peer]: () => pgPool.query(text, values),
  };
  const prepared: Contenders = {
    [ours]: () => pool.query(text, values, { name: 'n' }),
    [shared]: () => pool.query(text, values, { name: 'n', lane: 'shared' }),
    [peer]: () => pgPool.query({ name: 'n', text, values }),
    'postgres.js': () => sql`select ${1}::int as n`,
    'one pg.Client that pipelines': () => pipeline.query({ name: 'n', text, values }),
    'the wire, one connection': wire.call,
  };
  for (const callers of [1, 10, 20]) {
    const one = await Rounds.run(unprepared, callers);
    one.report(`query, ${callers} callers`, [{ of: ours, beside: peer, atLeast: 0.95 }]);
    const other = await Rounds.run(prepared, callers);
    const lane = callers === 1 ? [] : [{ of: shared, beside: peer, atLeast: 1.5 }];
    other.report(`prepared query, ${callers} callers`, [{ of: ours, beside: peer, atLeast: 0.95 }, ...lane]);
    const limit = await pgbench(connectionString, callers);
    const said = limit === undefined ? 'is not installed' : `${limit.toFixed(0)} per second`;
    console.log(`prepared query, ${callers} callers: pgbench ${said}`);
  }
  await Promise.all([pgPool.end(), sql.end(), pipeline.end(), wire.close()]);
}

/** What goes over the wire for a query, both ways. */
async function bytes(connectionString: string): Promise<void> {
  const queries = 100;
  const counted = async (
    open: (stream: () => Socket) => Promise<{ query(): Promise<unknown>; close(): Promise<unknown> }>,
  ) => {
    const sockets: Socket[] = [];
    const { query, close } = await open(() => {
      const socket = new Socket();
      sockets.push(socket);
      return socket;
    });
    const total = () => sockets.reduce((sum, socket) => sum + socket.bytesRead + socket.bytesWritten, 0);
    await query();
    const before = total();
    for (let n = 0; n < queries; n++) await query();
    const each = (total() - before) / queries;
    await close();
    return each;
  };
  for (const name of [undefined, 'n']) {
    for (const lane of ['exclusive', 'shared'] as const) {
      const mine = await counted(async (stream) => {
        const pool = new PostgresPool({ connectionString, connection: { stream }, minSize: 1, maxSize: 1 });
        await pool.start();
        return { query: () => pool.query(text, values, { name, lane }), close: () => pool.close() };
      });
      const theirs = await counted(async (stream) => {
        const pool = new pg.Pool({ connectionString, stream, max: 1 });
        return { query: () => pool.query({ name, text, values } as pg.QueryConfig), close: () => pool.end() };
      });
      const label = `bytes of a ${name === undefined ? '' : 'prepared '}query, ${lane} lane`;
      verdict(`${label}: ${mine} of ${ours} / ${theirs} of ${peer}`, mine / theirs, 'at most', 1);
    }
  }
}

async function inserts(connectionString: string): Promise<void> {
  await using pool = new PostgresPool({ connectionString, minSize: 10, maxSize: 10 });
  await pool.start();
  await pool.query('create table bench_rows (id int generated always as identity, name text, n int)');
  const rows = Array.from({ length: 10_000 }, (_, n) => [`name ${n}`, n]);
  const insert = 'insert into bench_rows (name, n) values ($1, $2)';
  const ways: Record<string, () => Promise<unknown>> = {
    insertMany: () => pool.insertMany('bench_rows', ['name', 'n'], rows),
    'insertMany with returning': () => pool.insertMany('bench_rows', ['name', 'n'], rows, { returning: ['id'] }),
    'single inserts': async () => {
      for (const row of rows) await pool.query(insert, row, { name: 'insert' });
    },
    'single inserts by 10 callers': async () => {
      const left = rows.values();
      const caller = async () => {
        for (const row of left) await pool.query(insert, row, { name: 'insert' });
      };
      await Promise.all(Array.from({ length: 10 }, caller));
    },
  };
  const times = new Map(Object.keys(ways).map((name) => [name, [] as number[]]));
  for (let round = 0; round < 5; round++) {
    for (const [name, run] of Object.entries(ways)) {
      await pool.query('truncate bench_rows');
      const start = performance.now();
      await run();
      times.get(name)?.push(performance.now() - start);
    }
  }
  const ms = (name: string) => median(times.get(name) ?? []);
  for (const name of Object.keys(ways)) console.log(`10,000 rows: ${name} ${ms(name).toFixed(0)} ms`);
  for (const name of ['insertMany', 'insertMany with returning']) {
    verdict(`10,000 rows: single inserts / ${name}`, ms('single inserts') / ms(name), 'at least', 10);
  }
}

/** Twenty queries at once, right after the start and when everything is warm. */
async function coldStart(login: string, server: PostgresService): Promise<void> {
  const connectionString = server.url;
  const samples = { first: [] as number[], warm: [] as number[], peer: [] as number[] };
  const twenty = async (query: () => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    await Promise.all(Array.from({ length: 20 }, query));
    return performance.now() - start;
  };
  for (let round = -1; round < 15; round++) {
    const pool = new PostgresPool({ connectionString, minSize: 20, maxSize: 20 });
    await pool.start();
    const query = () => pool.query(text, values);
    const first = await twenty(query);
    for (let n = 0; n < 10; n++) await twenty(query);
    const warm = await twenty(query);
    await pool.close();
    const bare = new pg.Pool({ connectionString, max: 20 });
    const cold = await twenty(() => bare.query(text, values));
    await bare.end();
    if (round < 0) continue;
    samples.first.push(first);
    samples.warm.push(warm);
    samples.peer.push(cold);
  }
  const [first, warm, cold] = [median(samples.first), median(samples.warm), median(samples.peer)];
  console.log(
    `20 queries at once, ${login}: ${ours} first ${first.toFixed(1)} ms, warm ${warm.toFixed(1)} ms; ${peer} first ${cold.toFixed(1)} ms, ${(cold / warm).toFixed(0)} times warm`,
  );
  verdict(`20 queries at once, ${login}: first / warm`, first / warm, 'at most', 2);
}

/** A server that asks for no password. */
async function startTrusting(): Promise<AsyncDisposable & { server: PostgresService }> {
  const folder = await mkdtemp(join(tmpdir(), 'x-bench-'));
  const file = join(folder, 'pg_hba.conf');
  await writeFile(file, 'host all all 127.0.0.1/32 trust\n');
  await chmod(folder, 0o755);
  // As root the server runs as nobody.
  if (process.getuid?.() === 0) await chown(file, 65_534, 65_534);
  const server = await startPostgres({ external: false, settings: { hba_file: file } });
  return {
    server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}
