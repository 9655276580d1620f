import type { Ledger } from './ledger.ts';
import type { Recorder } from './recorder.ts';
import { becomes, type Target, withDatabase } from './target.ts';
import { type MemoryTrend, openFiles, Vitals } from './vitals.ts';

/** What is left when the load has ended. */
export interface FinalChecks {
  filesAtStart: number;
  filesAtEnd: number;
  databaseConnections: number;
  assignments: { acknowledged: number; unknown: number; written: number };
}

/** What must be 0 when nobody calls. */
const ZERO_AT_REST = [
  'concurrent_requests',
  'queue_depth',
  'limiter_in_flight',
  'limiter_queued',
  'tool_executions_in_flight',
  'db_pool_waiting',
  'http_pool_in_flight',
  'worker_pool_running_tasks',
];
/** The server's defaults for --pool-min and --pool-max. */
const POOL = { min: 10, max: 20 };
/** 10 more database connections, 20 connections that are kept alive to the upstream API, and 10 of anything else. */
export const MORE_FILES = 40;
export const GROWTH = { heapBytes: { ratio: 1.25, bytes: 16e6 }, rssBytes: { ratio: 1.25, bytes: 64e6 } } as const;
const SETTLE_MS = 45_000;

export async function finalChecks(
  { server, postgres, http }: Target,
  recorder: Recorder,
  ledger: Ledger,
  memory: MemoryTrend,
  filesAtStart: number,
): Promise<FinalChecks> {
  let atWork: string[] = [];
  const atRest = await becomes(async () => {
    const vitals = await Vitals.of(http);
    if (vitals === undefined || Number.isNaN(vitals.value('concurrent_requests'))) {
      atWork = ['/metrics does not say'];
    } else atWork = ZERO_AT_REST.flatMap((name) => vitals.nonZero(name));
    return atWork.length === 0;
  }, SETTLE_MS);
  if (!atRest) recorder.violation('still at work when nobody calls', atWork.join(', '));

  let databaseConnections = Number.NaN;
  const between = await becomes(async () => {
    databaseConnections = await countConnections(postgres.url);
    return databaseConnections >= POOL.min && databaseConnections <= POOL.max;
  }, SETTLE_MS);
  if (!between) {
    const limits = `${POOL.min} to ${POOL.max}`;
    recorder.violation(`PostgreSQL connections are not ${limits}`, `there are ${databaseConnections}`);
  }

  let filesAtEnd = Number.NaN;
  const closed = await becomes(() => {
    filesAtEnd = openFiles(server.process.pid);
    return !(filesAtEnd > filesAtStart + MORE_FILES);
  }, SETTLE_MS);
  if (!closed) recorder.violation('file descriptors leak', `${filesAtStart} at the start, ${filesAtEnd} at the end`);

  for (const field of ['heapBytes', 'rssBytes'] as const) {
    const quarters = memory.quarters(field);
    const { ratio, bytes } = GROWTH[field];
    if (quarters !== undefined && quarters.last > quarters.first * ratio + bytes) {
      recorder.violation(`${field} grew`, `${quarters.first} in the first quarter, ${quarters.last} in the last`);
    }
  }

  const { wrong, ...assignments } = await withDatabase(postgres.url, (client) => ledger.compare(client));
  for (const line of wrong) recorder.violation('the database is not what callers were told', line);
  return { filesAtStart, filesAtEnd, databaseConnections, assignments };
}

function countConnections(url: string): Promise<number> {
  return withDatabase(url, async (client) => {
    const { rows } = await client.query<{ count: number }>(
      `SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'soak'`,
    );
    return rows[0]?.count ?? Number.NaN;
  });
}
