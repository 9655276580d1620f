import { argumentsOf, TOOLS, type ToolName, toolOf } from './calls.ts';
import { abortHalfWay, sendGarbage, slowBodies, slowHeaders } from './hostile.ts';
import type { Ledger } from './ledger.ts';
import { judge } from './outcome.ts';
import type { Recorder } from './recorder.ts';
import { setUpstream, sleep, type Target, withDatabase, withRedis } from './target.ts';

/** Something that goes wrong. */
export interface Fault {
  name: string;
  /** Tools that may answer with a failure because of it; none others. */
  affects: readonly ToolName[];
  /** Does it, keeps it up for `holdMs`, and mends it. */
  strike(target: Target, holdMs: number, recorder: Recorder, ledger: Ledger): Promise<void>;
}

const DATABASE: readonly ToolName[] = ['get_user', 'get_user_details', 'get_org_structure', 'batch_create_assignments'];
const UPSTREAM: readonly ToolName[] = ['fetch_user_data', 'fetch_with_limit', 'call_external_api'];

/** In the order in which they come, over and over: kinds take turns, so that a short run has some of each. */
export const FAULTS: readonly Fault[] = [
  { name: 'PostgreSQL connections terminated', affects: DATABASE, strike: terminateConnections },
  { name: 'clients abort half-way', affects: [], strike: abortHalfWay },
  { name: 'Redis killed and started again', affects: [], strike: ({ redis }, holdMs) => killed(redis, holdMs) },
  { name: 'upstream API failing', affects: UPSTREAM, strike: upstreamIs('failing') },
  { name: '300 calls at once', affects: TOOLS, strike: burst },
  { name: 'huge and malformed requests', affects: [], strike: sendGarbage },
  {
    name: 'PostgreSQL killed and started again',
    affects: DATABASE,
    strike: ({ postgres }, ms) => killed(postgres, ms),
  },
  { name: 'Redis frozen', affects: [], strike: ({ redis }, holdMs) => frozen(redis, holdMs) },
  { name: 'headers that never end', affects: [], strike: slowHeaders },
  { name: 'upstream API dead', affects: UPSTREAM, strike: upstreamIs('dead') },
  { name: 'Redis flushed', affects: [], strike: flushRedis },
  { name: 'PostgreSQL frozen', affects: DATABASE, strike: ({ postgres }, holdMs) => frozen(postgres, holdMs) },
  { name: 'bodies that never end', affects: [], strike: slowBodies },
  { name: 'upstream API slow', affects: UPSTREAM, strike: upstreamIs('slow') },
];

interface Breakable {
  kill(): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  restart(): Promise<void>;
}

async function killed(service: Breakable, holdMs: number): Promise<void> {
  await service.kill();
  await sleep(holdMs);
  await service.restart();
}

async function frozen(service: Breakable, holdMs: number): Promise<void> {
  await service.pause();
  await sleep(holdMs);
  await service.resume();
}

async function terminateConnections({ postgres }: Target, holdMs: number): Promise<void> {
  await withDatabase(postgres.url, async (client) => {
    for (const end = performance.now() + holdMs; performance.now() < end; await sleep(250)) {
      await client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`,
      );
    }
  });
}

async function flushRedis({ redis }: Target, holdMs: number): Promise<void> {
  await withRedis(redis.url, async (client) => {
    for (const end = performance.now() + holdMs; performance.now() < end; await sleep(50)) await client.flushall();
  });
}

function upstreamIs(mode: 'failing' | 'dead' | 'slow'): Fault['strike'] {
  return async ({ server }, holdMs) => {
    // Slower than the server waits, so that its time-outs are tried too.
    await setUpstream(server.upstreamUrl, mode, 20_000);
    await sleep(holdMs);
    await setUpstream(server.upstreamUrl, 'ok');
  };
}

async function burst({ server, http }: Target, holdMs: number, recorder: Recorder, ledger: Ledger): Promise<void> {
  const { phase } = recorder;
  for (const end = performance.now() + holdMs; performance.now() < end; ) {
    await Promise.all(
      Array.from({ length: 300 }, async (_, n) => {
        const tool = toolOf(n);
        const batch = ledger.batch();
        const exchange = await http.call(tool, argumentsOf(tool, n, server.upstreamUrl, batch.title));
        const outcome = judge(exchange);
        batch.settle(outcome);
        recorder.count(tool, outcome, exchange.ms, phase);
      }),
    );
  }
}
