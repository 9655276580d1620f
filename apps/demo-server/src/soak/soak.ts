import { randomBytes } from 'node:crypto';
import { startPostgres, startRedis } from '@x/local-services';
import { startChildServer } from '../child-server.ts';
import { argumentsOf, TOOLS, type ToolName, toolOf } from './calls.ts';
import { HttpClient } from './exchange.ts';
import { FAULTS, type Fault } from './faults.ts';
import { type FinalChecks, finalChecks } from './final-checks.ts';
import { Ledger } from './ledger.ts';
import { judge } from './outcome.ts';
import { Recorder } from './recorder.ts';
import { checkLog } from './server-log.ts';
import { becomes, sleep, type Target, withDatabase, withRedis } from './target.ts';
import { MemoryTrend, openFiles, Vitals } from './vitals.ts';

export interface SoakOptions {
  /** The server's built program. */
  main: string;
  /** How long load and faults go on. Milliseconds. */
  durationMs: number;
  /** How many faults there are at the least, however long they take. Default: 0. */
  minFaults?: number | undefined;
  onProgress?: ((line: string) => void) | undefined;
  /** Ends the soak early, without a result: rejects with its reason when everything is stopped. */
  signal?: AbortSignal | undefined;
}

/** How one kind of fault went, over all its rounds. */
interface FaultSummary {
  name: string;
  rounds: number;
  /** From the end of the fault until every tool worked again, the longest. Milliseconds. */
  slowestRecoveryMs: number;
  /** What that was. */
  last: string;
}

export interface SoakResult {
  seconds: number;
  holdMs: number;
  recorder: Recorder;
  faults: FaultSummary[];
  memory: MemoryTrend;
  final: FinalChecks;
  versions: { postgres: string; redis: string };
}

/** Settings of the server that make it recover in seconds. The others are what a user gets. */
export const SERVER_SETTINGS = ['--tool-timeout', '5000', '--breaker-recovery', '1000', '--org-cache-ttl', '2000'];
export const CALLERS = 20;
/** What a caller thinks between two calls: the load leaves room on a small machine for what is measured. */
export const THINK_MS = 50;
const CALL_TIMEOUT_MS = 30_000;
export const RECOVERY_LIMIT_MS = 30_000;

/** Load and faults on a server in a process of its own, with services of its own; what it did wrong is in the result. */
export async function runSoak({
  main,
  durationMs,
  minFaults = 0,
  onProgress = () => {},
  signal,
}: SoakOptions): Promise<SoakResult> {
  await using postgres = await startPostgres({ external: false });
  await using redis = await startRedis({ external: false });
  const { DATABASE_URL, REDIS_URL, UPSTREAM_URL, MCP_TOKEN, PORT, HOST, ...environment } = process.env;
  await using server = await startChildServer(main, SERVER_SETTINGS, {
    ...environment,
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
  });
  signal?.addEventListener('abort', () => void server.stop(), { once: true });
  signal?.throwIfAborted();
  await using http = new HttpClient(new URL(server.url).origin, { timeoutMs: CALL_TIMEOUT_MS });
  const target: Target = { server, postgres, redis, http };
  const versions = {
    postgres: await withDatabase(
      postgres.url,
      async (db) => (await db.query('SHOW server_version')).rows[0].server_version,
    ),
    redis: await withRedis(redis.url, async (client) => redisVersion(await client.info('server'))),
  };

  const recorder = new Recorder();
  const ledger = new Ledger(`soak-${randomBytes(6).toString('hex')}`);
  const memory = new MemoryTrend();
  // Each tool once, so that what is opened at first use is open.
  await recovery(target, ledger, recorder);
  const filesAtStart = openFiles(server.process.pid);
  onProgress(`${server.url}, ${filesAtStart} open files at the start`);

  const onExit = (code: number | null, by: string | null) =>
    recorder.violation('the server ended', `${by ?? `exit code ${code}`}`);
  server.process.once('exit', onExit);
  const holdMs = Math.min(5_000, Math.max(300, durationMs / 120));
  const running = new AbortController();
  const load = [
    ...Array.from({ length: CALLERS }, (_, caller) => callOn(caller, target, ledger, recorder, running.signal)),
  ];
  const watching = watch(target, recorder, memory, running.signal);
  const end = performance.now() + durationMs;
  const faults = new Map<string, FaultSummary>();
  for (let n = 0; (performance.now() < end || n < minFaults) && isUp(target); n++) {
    const fault = FAULTS[n % FAULTS.length] as Fault;
    recorder.phase = { name: fault.name, affects: fault.affects };
    await fault.strike(target, holdMs, recorder, ledger).catch((error) => {
      // Mostly because the server has ended, which is reported by itself.
      recorder.violation(`"${fault.name}" could not be done`, String(error));
    });
    const slowest = await recovery(target, ledger, recorder);
    const summary = faults.get(fault.name) ?? {
      name: fault.name,
      rounds: 0,
      slowestRecoveryMs: 0,
      last: slowest.last,
    };
    faults.set(fault.name, summary);
    summary.rounds++;
    if (slowest.ms > summary.slowestRecoveryMs) {
      summary.slowestRecoveryMs = slowest.ms;
      summary.last = slowest.last;
    }
    onProgress(
      `${recorder.seconds.toFixed(0)} s: ${fault.name}; all tools work after ${slowest.ms.toFixed(0)} ms (${slowest.last} last); ` +
        `broken invariants: ${recorder.violations.length}`,
    );
    await sleep(holdMs / 2);
  }
  running.abort();
  await Promise.all(load);
  const logged = await watching;
  signal?.throwIfAborted();
  const seconds = recorder.seconds;

  recorder.phase = { name: 'after the load', affects: [] };
  const final = await finalChecks(target, recorder, ledger, memory, filesAtStart);
  server.process.off('exit', onExit);
  const exitCode = await server.stop();
  if (exitCode !== 0) recorder.violation('the server did not stop in order', `exit code ${exitCode}`);
  checkLog(server.log, logged, recorder);
  return { seconds, holdMs, recorder, faults: [...faults.values()], memory, final, versions };
}

function isUp({ server }: Target): boolean {
  return server.process.exitCode === null && server.process.signalCode === null;
}

/** One caller: calls, thinks, calls again, whatever comes back. */
async function callOn(caller: number, target: Target, ledger: Ledger, recorder: Recorder, signal: AbortSignal) {
  for (let n = caller; !signal.aborted && isUp(target); n += CALLERS) {
    const tool = toolOf(n);
    const begun = recorder.phase;
    const batch = ledger.batch();
    const exchange = await target.http.call(tool, argumentsOf(tool, n, target.server.upstreamUrl, batch.title));
    const outcome = judge(exchange);
    batch.settle(outcome);
    recorder.count(tool, outcome, exchange.ms, begun);
    await sleep(THINK_MS);
  }
}

/** Looks at the server's own numbers, health and log while the load goes on. Returns how much of the log it has seen. */
async function watch(
  { server, http }: Target,
  recorder: Recorder,
  memory: MemoryTrend,
  signal: AbortSignal,
): Promise<number> {
  let logged = 0;
  for (; !signal.aborted; await sleep(1_000)) {
    const vitals = await Vitals.of(http);
    if (vitals === undefined) recorder.violation('/metrics was not answered');
    else memory.add(vitals, recorder.seconds);
    const health = await http.get('/healthz');
    if (health.status !== 200) recorder.violation('/healthz was not answered 200', String(health.status));
    logged = checkLog(server.log, logged, recorder);
  }
  return logged;
}

/** Waits until every tool works and the server says that it is ready, and tells which was the last and how long that took. */
async function recovery(target: Target, ledger: Ledger, recorder: Recorder): Promise<{ last: string; ms: number }> {
  const start = performance.now();
  const ready = async () => (await target.http.get('/readyz')).status === 200;
  const checks: [string, () => Promise<boolean>][] = [
    ['/readyz', ready],
    ...TOOLS.map((tool, n): [string, () => Promise<boolean>] => [tool, () => succeeds(tool, n, target, ledger)]),
  ];
  const times = await Promise.all(
    checks.map(async ([last, check]) => {
      const works = await becomes(() => !isUp(target) || check(), RECOVERY_LIMIT_MS);
      if (!works)
        recorder.violation(`${last} did not recover from "${recorder.phase.name}" in ${RECOVERY_LIMIT_MS} ms`);
      return { last, ms: performance.now() - start };
    }),
  );
  return times.reduce((slowest, time) => (time.ms > slowest.ms ? time : slowest));
}

async function succeeds(tool: ToolName, n: number, { server, http }: Target, ledger: Ledger): Promise<boolean> {
  const batch = ledger.batch();
  const outcome = judge(await http.call(tool, argumentsOf(tool, n, server.upstreamUrl, batch.title)));
  batch.settle(outcome);
  // Tools with partial results list what failed.
  return outcome.kind === 'success' && ((outcome.structured.failed as unknown[] | undefined) ?? []).length === 0;
}

function redisVersion(info: string): string {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const valkey = field('valkey_version');
  return valkey === undefined ? `Redis ${field('redis_version')}` : `Valkey ${valkey}`;
}
