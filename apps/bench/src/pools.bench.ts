import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { startPostgres } from '@x/local-services';
import { HttpPool } from '@x/pools/http';
import { PostgresPool } from '@x/pools/postgres';
import { WorkerPool } from '@x/pools/workers';
import { bench, group, run } from 'mitata';
import pg from 'pg';
import { Piscina } from 'piscina';
import { Agent, request } from 'undici';

const ours = '@x/pools';
/** The peers of each kind by name, ours first; each gives one round trip. */
type Contenders = Record<string, () => Promise<unknown>>;

/** The three pools beside what they are built on, over the same server, for some numbers of callers. */
export async function runPoolsBench(): Promise<void> {
  await using postgres = await startPostgres();
  await using http = await startHttpServer();
  const kinds: Record<string, { contenders: Contenders; callers: number[] }> = {
    'query (select $1)': { contenders: await databaseContenders(postgres.url), callers: [1, 10, 20] },
    'HTTP GET, JSON': { contenders: httpContenders(http.url), callers: [1, 10, 50] },
    'worker round trip': { contenders: workerContenders(), callers: [1] },
  };

  const cases = Object.entries(kinds).flatMap(([kind, { contenders, callers }]) =>
    callers.map((count) => ({ label: `${kind}, ${count} callers`, count, contenders })),
  );
  for (const { label, count, contenders } of cases) {
    group(() => {
      for (const [name, call] of Object.entries(contenders)) {
        bench(`${label}: ${name}`, () => roundTrips(count, call));
      }
    });
  }

  const { benchmarks } = await run();
  const medians = new Map(benchmarks.map(({ alias, runs }) => [alias, runs[0]?.stats?.p50 ?? Number.NaN]));
  const median = (alias: string) => medians.get(alias) ?? Number.NaN;
  for (const { label, contenders } of cases) {
    for (const name of Object.keys(contenders)) {
      if (name === ours) continue;
      const ratio = median(`${label}: ${name}`) / median(`${label}: ${ours}`);
      console.log(`${label}: throughput of ${ours} / ${name} = ${ratio.toFixed(2)}`);
    }
  }
  for (const close of closers) await close();
}

const closers: (() => Promise<unknown>)[] = [];

async function roundTrips(callers: number, call: () => Promise<unknown>): Promise<void> {
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let n = 0; n < 4; n++) await call();
    }),
  );
}

async function databaseContenders(connectionString: string): Promise<Contenders> {
  const pool = new PostgresPool({ connectionString, minSize: 20, maxSize: 20 });
  await pool.start();
  const peer = new pg.Pool({ connectionString, max: 20 });
  await Promise.all(Array.from({ length: 20 }, () => peer.query('select pg_sleep(0.05)')));
  closers.push(
    () => pool.close(),
    () => peer.end(),
  );
  return {
    [ours]: () => pool.query('select $1::int as n', [1]),
    'pg.Pool': () => peer.query('select $1::int as n', [1]),
    [`${ours}, prepared`]: () => pool.query('select $1::int as n', [1], { name: 'n' }),
    'pg.Pool, prepared': () => peer.query({ name: 'n', text: 'select $1::int as n', values: [1] }),
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

/** In a thread of its own, so that the server's work is not counted as the client's. */
async function startHttpServer(): Promise<{ url: string; [Symbol.asyncDispose](): Promise<void> }> {
  const worker = new Worker(
    `const { createServer } = require('node:http');
     const body = JSON.stringify({ id: 'u1', name: 'Ada', tags: ['a', 'b'] });
     const server = createServer((request, response) => {
       response.setHeader('content-type', 'application/json');
       response.end(body);
     });
     server.listen(0, '127.0.0.1', () => require('node:worker_threads').parentPort.postMessage(server.address().port));`,
    { eval: true },
  );
  const [port] = await once(worker, 'message');
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await worker.terminate();
    },
  };
}
