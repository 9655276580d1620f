import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startPostgres } from '@x/local-services';
import { HttpPool } from '@x/pools/http';
import { PostgresPool } from '@x/pools/postgres';
import { WorkerPool } from '@x/pools/workers';
import pg from 'pg';
import { Piscina } from 'piscina';
import { Agent, request } from 'undici';

const ours = '@x/pools';
/** The peers of each kind by name, ours first; each gives one round trip. */
type Contenders = Record<string, () => Promise<unknown>>;

/**
 * The three pools beside what they are built on, over the same server, for some numbers of callers. The contenders take
 * turns in short rounds, not one after the other as in mitata: a network round trip is at the mercy of what else the
 * machine does, and so that falls on all of them alike.
 */
export async function runPoolsBench(): Promise<void> {
  await using postgres = await startPostgres();
  await using http = await startHttpServer();
  const database = await databaseContenders(postgres.url);
  const kinds: [string, Contenders, number[]][] = [
    ['query', database.plain, [1, 10, 20]],
    ['prepared query', database.prepared, [1, 10, 20]],
    ['HTTP GET of JSON', httpContenders(http.url), [1, 10, 50]],
    ['worker round trip', workerContenders(), [1]],
  ];
  for (const [kind, contenders, counts] of kinds) {
    for (const callers of counts) report(`${kind}, ${callers} callers`, await takeTurns(contenders, callers));
  }
  for (const close of closers) await close();
}

const closers: (() => Promise<unknown>)[] = [];
const rounds = 15;
const callsInRound = 400;

interface Measured {
  wallUs: number;
  cpuUs: number;
}

/** Microseconds of time and of this process's CPU for each call: the median of the rounds. */
async function takeTurns(contenders: Contenders, callers: number): Promise<Map<string, Measured>> {
  const samples = new Map(Object.keys(contenders).map((name) => [name, [] as Measured[]]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, call] of Object.entries(contenders)) {
      const cpu = process.cpuUsage();
      const start = performance.now();
      await roundTrips(callers, call);
      const wallUs = ((performance.now() - start) * 1_000) / callsInRound;
      const { user, system } = process.cpuUsage(cpu);
      if (round >= 0) samples.get(name)?.push({ wallUs, cpuUs: (user + system) / callsInRound });
    }
  }
  const median = (values: number[]) => values.sort((x, y) => x - y)[Math.floor(values.length / 2)] ?? Number.NaN;
  return new Map(
    [...samples].map(([name, all]) => [
      name,
      { wallUs: median(all.map(({ wallUs }) => wallUs)), cpuUs: median(all.map(({ cpuUs }) => cpuUs)) },
    ]),
  );
}

function report(label: string, measured: Map<string, Measured>): void {
  const mine = measured.get(ours);
  for (const [name, { wallUs, cpuUs }] of measured) {
    const ratio = name === ours ? '' : `, ${ours} / ${name} = ${(wallUs / (mine?.wallUs ?? Number.NaN)).toFixed(2)}`;
    const each = `${(1e6 / wallUs).toFixed(0)} per second, ${cpuUs.toFixed(0)} us of CPU`;
    console.log(`${label}: ${name} ${each}${ratio}`);
  }
}

async function roundTrips(callers: number, call: () => Promise<unknown>): Promise<void> {
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let n = 0; n < callsInRound / callers; n++) await call();
    }),
  );
}

async function databaseContenders(connectionString: string): Promise<{ plain: Contenders; prepared: Contenders }> {
  const pool = new PostgresPool({ connectionString, minSize: 20, maxSize: 20 });
  await pool.start();
  const peer = new pg.Pool({ connectionString, max: 20 });
  await Promise.all(Array.from({ length: 20 }, () => peer.query('select pg_sleep(0.05)')));
  closers.push(
    () => pool.close(),
    () => peer.end(),
  );
  const text = 'select $1::int as n';
  const values = [1];
  return {
    plain: { [ours]: () => pool.query(text, values), 'pg.Pool': () => peer.query(text, values) },
    prepared: {
      [ours]: () => pool.query(text, values, { name: 'n' }),
      'pg.Pool': () => peer.query({ name: 'n', text, values }),
    },
  };
}

function httpContenders(url: string): Contenders {
  const pool = new HttpPool({ egress: { allowOrigins: [url] } });
  const agent = new Agent({ connections: 100 });
  closers.push(
    () => pool.close(),
    () => agent.close(),
  );
  return {
    [ours]: async () => (await pool.get(url)).json(),
    'undici.request': async () => (await request(url, { dispatcher: agent })).body.json(),
    'global fetch': async () => (await fetch(url)).json(),
  };
}

function workerContenders(): Contenders {
  const filename = fileURLToPath(new URL('../../../packages/pools/test/fixtures/tasks.mjs', import.meta.url));
  const pool = new WorkerPool({ filename, maxThreads: 1 });
  const peer = new Piscina({ filename, minThreads: 1, maxThreads: 1 });
  closers.push(
    () => pool.close(),
    () => peer.destroy(),
  );
  return { [ours]: () => pool.run(1), piscina: () => peer.run(1) };
}

/** In a process of its own, so that the server's work is not counted as the client's. */
async function startHttpServer(): Promise<{ url: string; [Symbol.asyncDispose](): Promise<void> }> {
  const server = spawn(
    process.execPath,
    [
      '--eval',
      `const body = JSON.stringify({ id: 'u1', name: 'Ada', tags: ['a', 'b'] });
       const server = require('node:http').createServer((request, response) => {
         response.setHeader('content-type', 'application/json');
         response.end(body);
       });
       server.listen(0, '127.0.0.1', () => process.send(server.address().port));
       process.on('disconnect', () => process.exit());`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  const [port] = await once(server, 'message');
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.kill();
    },
  };
}
