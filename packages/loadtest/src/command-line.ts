import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { LoadTestError } from './errors.ts';
import { runLoadTest, type ToolArguments } from './load-test.ts';
import { packageVersion } from './mcp-session.ts';
import { isObject } from './outcome.ts';
import { showProgress } from './progress-display.ts';
import type { LoadTestResult } from './recorder.ts';
import { renderReport } from './report.ts';

export interface CommandLineOptions {
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
  /** Ctrl-C: ends the test, and what was measured so far is printed. */
  signal: AbortSignal;
}

interface Flags {
  tool: string;
  args: ToolArguments;
  concurrency: number;
  duration: number;
  rate?: number;
  warmup: number;
  timeout: number;
  sessions: number;
  header: string[];
  json: boolean;
  maxP99?: number;
  maxFailureRate?: number;
}

/** Resolves with the exit code: 0, 1 if a limit was exceeded or the test could not begin, 2 for wrong usage. */
export async function runCommandLine(argv: readonly string[], io: CommandLineOptions): Promise<number> {
  const program = buildProgram(io);
  try {
    // Package managers hand `pnpm loadtest -- <url>` over with the dashes.
    program.parse(argv[0] === '--' ? argv.slice(1) : argv, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
  const flags = program.opts<Flags>();
  const target = program.args[0] as string;
  const progress = showProgress(io.stderr, io.stderr.isTTY === true && !flags.json);
  try {
    const result = await runLoadTest({
      target,
      tool: flags.tool,
      args: flags.args,
      concurrency: flags.concurrency,
      durationMs: flags.duration * 1000,
      rate: flags.rate,
      warmupMs: flags.warmup * 1000,
      timeoutMs: flags.timeout * 1000,
      sessions: flags.sessions,
      headers: parseHeaders(flags.header),
      signal: io.signal,
      onProgress: progress.update,
    });
    progress.stop();
    io.stdout.write(flags.json ? `${JSON.stringify(result, undefined, 2)}\n` : renderReport(result));
    const exceeded = exceededLimits(result, flags);
    for (const limit of exceeded) io.stderr.write(`${limit}\n`);
    return exceeded.length > 0 ? 1 : 0;
  } catch (error) {
    progress.stop();
    if (io.signal.aborted && error === io.signal.reason) {
      io.stderr.write('Interrupted before anything was measured.\n');
      return 1;
    }
    const { code, message } = error as { code?: unknown; message?: unknown };
    io.stderr.write(`${String(message ?? error).replace('@x/loadtest: ', '')}\n`);
    if (error instanceof LoadTestError) return 1;
    if (error instanceof TypeError || error instanceof RangeError) return 2;
    throw new Error(`unexpected failure${code === undefined ? '' : ` (${code})`}`, { cause: error });
  }
}

function buildProgram({ stdout, stderr }: CommandLineOptions): Command {
  return new Command('mcp-loadtest')
    .description(
      'Calls a tool of an MCP server (Streamable HTTP) over and over, and says how fast it answered and what failed.',
    )
    .version(packageVersion())
    .argument('<url>', 'the MCP endpoint, as in http://127.0.0.1:3000/mcp')
    .requiredOption('--tool <name>', 'the tool to call')
    .option('--args <json>', 'its arguments; {{seq}} is replaced by the number of the call, from 0', parseArguments, {})
    .option(
      '--concurrency <n>',
      'requests in flight at most, each on its own connection',
      integer('--concurrency', 1),
      100,
    )
    .option('--duration <seconds>', 'how long to measure', number('--duration', { above: 0 }), 60)
    .option(
      '--rate <n>',
      'requests per second, sent at their time (open loop); default: as fast as answers come',
      number('--rate', { above: 0 }),
    )
    .option('--warmup <seconds>', 'load before the measurement, not counted', number('--warmup', { min: 0 }), 0)
    .option(
      '--timeout <seconds>',
      'how long to wait for an answer',
      number('--timeout', { above: 0, max: 2_147_483 }),
      30,
    )
    .option('--sessions <n>', 'MCP sessions that take turns', integer('--sessions', 1), 1)
    .option(
      '--header <line>',
      "sent with each request, as in 'Authorization: Bearer …'; may be repeated",
      (line: string, before: string[]) => [...before, line],
      [],
    )
    .option('--json', 'print only JSON on stdout', false)
    .option('--max-p99 <ms>', 'exit with 1 if p99 is higher', number('--max-p99', { above: 0 }))
    .option(
      '--max-failure-rate <ratio>',
      'exit with 1 if more of the requests fail, 0 to 1',
      number('--max-failure-rate', { min: 0, max: 1 }),
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 a limit was exceeded or the server cannot be reached, 2 wrong usage.',
    )
    .exitOverride()
    .configureOutput({ writeOut: (text) => void stdout.write(text), writeErr: (text) => void stderr.write(text) });
}

/** A limit that cannot be judged, because nothing succeeded or was sent, is not kept. */
function exceededLimits(result: LoadTestResult, { maxP99, maxFailureRate }: Flags): string[] {
  const exceeded: string[] = [];
  const { p99 } = result.latencyMs;
  if (maxP99 !== undefined && !(p99 <= maxP99))
    exceeded.push(
      `p99 is ${Number.isNaN(p99) ? 'unknown, nothing succeeded' : `${p99.toFixed(1)} ms`}, the limit is ${maxP99} ms`,
    );
  const failureRate = result.failures / result.total;
  if (maxFailureRate !== undefined && !(failureRate <= maxFailureRate))
    exceeded.push(
      `failure rate is ${Number.isNaN(failureRate) ? 'unknown, nothing was answered' : failureRate.toFixed(4)}, the limit is ${maxFailureRate}`,
    );
  return exceeded;
}

function parseArguments(text: string): ToolArguments {
  const make = (seq: number): Record<string, unknown> => {
    const value: unknown = JSON.parse(text.replaceAll('{{seq}}', String(seq)));
    if (!isObject(value)) throw new TypeError('not an object');
    return value;
  };
  let first: Record<string, unknown>;
  try {
    first = make(0);
  } catch {
    throw new InvalidArgumentError(`Expected a JSON object, as in '{"user_id":"u1"}', got ${JSON.stringify(text)}.`);
  }
  return text.includes('{{seq}}') ? make : first;
}

/** Not while the flags are parsed: what commander says of a wrong value shows it, and this one may be a token. */
function parseHeaders(lines: readonly string[]): Record<string, string> {
  const pairs = lines.map((line) => {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*)$/.exec(line);
    if (match === null) throw new TypeError("Expected --header to be 'Name: value'.");
    return [(match[1] as string).toLowerCase(), match[2] as string];
  });
  return Object.fromEntries(pairs);
}

function number(
  flag: string,
  { min, above, max }: { min?: number; above?: number; max?: number },
): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    const fits =
      Number.isFinite(value) &&
      value >= (min ?? -Infinity) &&
      value > (above ?? -Infinity) &&
      value <= (max ?? Infinity);
    if (fits) return value;
    const least = min === undefined ? `> ${above}` : `>= ${min}`;
    const rule = max === undefined ? least : `${least} and <= ${max}`;
    throw new InvalidArgumentError(`Expected ${flag} to be a number ${rule}, got ${JSON.stringify(text)}.`);
  };
}

function integer(flag: string, min: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (Number.isInteger(value) && value >= min) return value;
    throw new InvalidArgumentError(`Expected ${flag} to be an integer >= ${min}, got ${JSON.stringify(text)}.`);
  };
}
