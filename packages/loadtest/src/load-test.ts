import { Pool } from 'undici';
import { type Clock, systemClock } from './clock.ts';
import { LoadRun } from './load-run.ts';
import { McpSession, type McpTarget } from './mcp-session.ts';
import {
  checkArguments,
  checkFunction,
  checkHeaders,
  checkMethods,
  checkNumber,
  checkTarget,
  checkTool,
  LONGEST_TIMER_MS,
} from './option-checks.ts';
import type { LoadTestProgress, LoadTestResult } from './recorder.ts';

/** Arguments of a tool: the same for each call, one after the other of a list, or made for the call's number (from 0). */
export type ToolArguments =
  | Readonly<Record<string, unknown>>
  | readonly Readonly<Record<string, unknown>>[]
  | ((seq: number) => Readonly<Record<string, unknown>>);

export interface LoadTestOptions {
  /** URL of a Streamable HTTP MCP endpoint. */
  target: string | URL;
  /** Name of the tool to call. */
  tool: string;
  /** Default `{}`. */
  args?: ToolArguments | undefined;
  /** Requests in flight at most, each on a connection of its own. Default 100. */
  concurrency?: number | undefined;
  /** How long to measure, milliseconds. Default 60,000. Requests in flight at the end are waited for and counted. */
  durationMs?: number | undefined;
  /**
   * Requests per second, sent at their time whether or not earlier ones have been answered (an open loop), as far as
   * `concurrency` allows. A request that has to wait for a free connection counts from the time it was to be sent.
   * Default: none, each connection sends its next request when it has its answer (a closed loop).
   */
  rate?: number | undefined;
  /** Load before the measurement begins, that is not counted, milliseconds. Default 0; a cold JIT wants some seconds. */
  warmupMs?: number | undefined;
  /** How long to wait for an answer, milliseconds. Default 30,000. */
  timeoutMs?: number | undefined;
  /** Sent with each request, `authorization` for instance. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** MCP sessions (handshakes) that take turns. Default 1. Each client of a server with sessions has its own. */
  sessions?: number | undefined;
  /** Ends the test early: what was measured so far is the result, with `aborted: true`. */
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: LoadTestProgress) => void) | undefined;
  /** How often `onProgress` is called, milliseconds. Default 1,000. */
  progressMs?: number | undefined;
  /** For tests. */
  clock?: Clock | undefined;
}

/**
 * Calls a tool of an MCP server over and over and says how it went. The request of each call has an id of its own, and
 * each answer is checked: a success is a result with our id and without `isError`.
 *
 * @throws LoadTestError where the test could not begin. What fails later is counted.
 */
export async function runLoadTest(options: LoadTestOptions): Promise<LoadTestResult> {
  const { tool, args = {}, concurrency = 100, durationMs = 60_000, rate, warmupMs = 0, timeoutMs = 30_000 } = options;
  const { headers = {}, sessions = 1, signal, onProgress, progressMs = 1_000, clock = systemClock } = options;
  const url = checkTarget(options.target);
  checkTool(tool);
  checkArguments(args);
  const lowerCase = checkHeaders(headers);
  checkNumber('concurrency', concurrency, { min: 1, integer: true });
  checkNumber('durationMs', durationMs, { above: 0 });
  if (rate !== undefined) checkNumber('rate', rate, { above: 0 });
  checkNumber('warmupMs', warmupMs, { min: 0 });
  checkNumber('timeoutMs', timeoutMs, { above: 0, max: LONGEST_TIMER_MS });
  checkNumber('sessions', sessions, { min: 1, integer: true });
  checkNumber('progressMs', progressMs, { above: 0, max: LONGEST_TIMER_MS });
  if (signal !== undefined) checkMethods('signal', signal, ['addEventListener', 'throwIfAborted']);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  checkMethods('clock', clock, ['now', 'setTimeout', 'clearTimeout']);
  signal?.throwIfAborted();

  const client = new Pool(url.origin, {
    connections: concurrency,
    // Each exchange has a timer of its own, over its whole length.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: { timeout: timeoutMs },
  });
  const target: McpTarget = { client, url, headers: lowerCase, timeoutMs, clock };
  const opened: McpSession[] = [];
  try {
    // One first: if nobody is there, one attempt is enough to know.
    opened.push(await abortable(McpSession.open(target), signal));
    const others = Array.from({ length: sessions - 1 }, () =>
      McpSession.open(target).then((session) => opened.push(session)),
    );
    await abortable(Promise.all(others), signal);
    const run = new LoadRun({
      sessions: opened,
      params: callParams(tool, args),
      concurrency,
      durationMs,
      rate,
      warmupMs,
      timeoutMs,
      onProgress,
      progressMs,
      clock,
    });
    const onAbort = () => run.abort();
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) run.abort();
    try {
      const measured = await run.done;
      return { target: url.origin + url.pathname, tool, concurrency, rate: rate ?? null, ...measured };
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  } finally {
    await Promise.all(opened.map((session) => session.close()));
    await client.destroy();
  }
}

/** The `params` of the nth call as JSON. Constant ones are made once: the generator must not be what is measured. */
function callParams(tool: string, args: ToolArguments): (seq: number) => string {
  const json = (value: unknown) => JSON.stringify({ name: tool, arguments: value });
  if (typeof args === 'function') return (seq) => json(args(seq));
  const all = (Array.isArray(args) ? args : [args]).map(json);
  return (seq) => all[seq % all.length] as string;
}

/** The handshake has its time-out; an abort does not wait for it. */
function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    if (signal.aborted) onAbort();
  });
}
