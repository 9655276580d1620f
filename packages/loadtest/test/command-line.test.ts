import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { runCommandLine } from '../src/command-line.ts';
import { reply, startRaw, success } from './mcp-servers.ts';

const root = join(import.meta.dirname, '../../..');
const cli = join(import.meta.dirname, '../dist/cli.js');

beforeAll(async () => {
  await promisify(execFile)(process.execPath, [
    join(root, 'node_modules/typescript/bin/tsc'),
    '-b',
    join(import.meta.dirname, '..'),
  ]);
});

function start(args: string[]) {
  const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const done = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, stdout, stderr })),
  );
  return { child, done };
}
const run = (...args: string[]) => start(args).done;

/** In this process: starting one takes half a second. */
const runHere = (...args: string[]) => runUntil(new AbortController().signal, ...args);

async function runUntil(signal: AbortSignal, ...args: string[]) {
  const written = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') => ({
    write(text: string) {
      written[name] += text;
    },
  });
  const io = { stdout: stream('stdout'), stderr: stream('stderr'), signal };
  const code = await runCommandLine(args, io as never);
  return { code, ...written };
}

const serve = () => startRaw(({ id }, response) => reply(response, { id, result: success }));

test('prints totals, successes, failures, rate and percentiles, and progress on stderr', async () => {
  await using server = await serve();
  const { code, stdout, stderr } = await run(server.url, '--tool', 't', '--concurrency', '2', '--duration', '1.5');
  expect(stderr).toMatch(/^measuring 1 s: \d+ requests, 0 failed, \d+\/s, p50 [\d.]+ ms, p99 [\d.]+ ms\n/);
  expect(stdout).toMatch(/^requests +\d+$/m);
  expect(stdout).toMatch(/^successes +\d+ {2}\(100\.00 %\)$/m);
  expect(stdout).toMatch(/^failures +0 {2}\(0\.00 %\)$/m);
  expect(stdout).toMatch(/^requests per second +[\d.]+$/m);
  expect(stdout).toMatch(/min +mean +p50 +p90 +p95 +p99 +p99\.9 +max/);
  expect(code).toBe(0);
});

test('--json prints JSON and nothing else, and {{seq}} and headers reach the server', async () => {
  await using server = await serve();
  const { code, stdout } = await run(
    ...['--', server.url, '--tool', 't', '--concurrency', '2', '--duration', '0.3', '--json'],
    ...['--args', '{"id":"u{{seq}}","n":{{seq}}}', '--header', 'Authorization: Bearer a:b', '--header', 'X-Two: 2'],
  );
  const result = JSON.parse(stdout);
  expect(result.total).toBeGreaterThan(0);
  expect(result).toMatchObject({ tool: 't', concurrency: 2, rate: null, failures: 0, aborted: false, durationMs: 300 });
  expect(result.latencyMs.p99).toBeGreaterThan(0);
  expect(result.failureLatencyMs.p99).toBeNull();
  const calls = server.messages.filter(({ method }) => method === 'tools/call').map(({ params }) => params.arguments);
  expect(calls).toContainEqual({ id: 'u0', n: 0 });
  expect(calls).toContainEqual({ id: 'u1', n: 1 });
  expect(server.headers.at(-1)).toMatchObject({ authorization: 'Bearer a:b', 'x-two': '2' });
  expect(code).toBe(0);
});

test('a failure says why, and limits that are exceeded make the exit code 1', async () => {
  await using server = await startRaw(({ id }, response) => {
    setTimeout(() => {
      if ((id as number) % 2 === 0) reply(response, { id, result: success });
      else reply(response, { id, result: { isError: true, content: [{ type: 'text', text: 'no such user' }] } });
    }, 5);
  });
  const base = [server.url, '--tool', 't', '--concurrency', '2', '--duration', '0.3'];
  const failing = await run(...base, '--max-failure-rate', '0.1', '--max-p99', '60000');
  expect(failing.stdout).toMatch(/^ {2}tool +\d+ {2}\(isError \d+\)\n {4}\d+ x no such user$/m);
  expect(failing.stderr).toMatch(/^failure rate is 0\.\d+, the limit is 0\.1$/m);
  expect(failing.code).toBe(1);
  const slow = await runHere(...base, '--max-failure-rate', '1', '--max-p99', '0.5');
  expect(slow.stderr).toMatch(/^p99 is [\d.]+ ms, the limit is 0\.5 ms$/m);
  expect(slow.code).toBe(1);
  expect((await runHere(...base, '--max-failure-rate', '1', '--max-p99', '60000')).code).toBe(0);
});

test('a limit of p99 is not kept by a server where nothing succeeds', async () => {
  await using server = await startRaw((_message, response) => void response.writeHead(503).end());
  const { code, stderr } = await runHere(
    server.url,
    '--tool',
    't',
    '--concurrency',
    '1',
    '--duration',
    '0.2',
    '--max-p99',
    '1000',
  );
  expect(stderr).toContain('p99 is unknown, nothing succeeded, the limit is 1000 ms');
  expect(code).toBe(1);
});

test('rate, warm-up and sessions are what their flags say', async () => {
  await using server = await serve();
  const flags = ['--rate', '20', '--warmup', '0.1', '--duration', '0.1', '--sessions', '2', '--json'];
  const { stdout } = await runHere(server.url, '--tool', 't', ...flags);
  const { rate, total, notSent } = JSON.parse(stdout);
  expect(rate).toBe(20);
  // Four fall due, two of them in the warm-up.
  expect(total + notSent).toBe(2);
  expect(server.messages.filter(({ method }) => method === 'initialize')).toHaveLength(2);
});

test('a limit of failures is not kept where nothing was answered', async () => {
  const stop = new AbortController();
  await using server = await startRaw(() => stop.abort());
  const { code, stderr } = await runUntil(stop.signal, server.url, '--tool', 't', '--max-failure-rate', '1');
  expect(stderr).toContain('failure rate is unknown, nothing was answered, the limit is 1\n');
  expect(code).toBe(1);
});

test('nobody there: exit code 1 and a sentence', async () => {
  const { code, stdout, stderr } = await runHere('http://127.0.0.1:9/mcp', '--tool', 't');
  expect(stderr).toBe('cannot reach http://127.0.0.1:9/mcp: connect ECONNREFUSED 127.0.0.1:9\n');
  expect(stdout).toBe('');
  expect(code).toBe(1);
});

test.each([
  [['--tool', 't'], "missing required argument 'url'"],
  [['http://h/'], "required option '--tool <name>' not specified"],
  [['http://h/', '--tool', 't', '--concurrency', '0'], 'Expected --concurrency to be an integer >= 1, got "0".'],
  [['http://h/', '--tool', 't', '--duration', 'long'], 'Expected --duration to be a number > 0, got "long".'],
  [
    ['http://h/', '--tool', 't', '--max-failure-rate', '2'],
    'Expected --max-failure-rate to be a number >= 0 and <= 1, got "2".',
  ],
  [['http://h/', '--tool', 't', '--args', '[1]'], `Expected a JSON object, as in '{"user_id":"u1"}', got "[1]".`],
  [['http://h/', '--tool', 't', '--args', '{bad'], `Expected a JSON object, as in '{"user_id":"u1"}', got "{bad".`],
  [['http://h/', '--tool', 't', '--header', 'nocolon'], "Expected --header to be 'Name: value'."],
  [
    ['http://h/', '--tool', 't', '--timeout', '1e9'],
    'Expected --timeout to be a number > 0 and <= 2147483, got "1e9".',
  ],
  [['http://h/', '--tool', 't', '--nonsense'], "unknown option '--nonsense'"],
  [['http://h/', 'more', '--tool', 't'], 'too many arguments'],
  [['ftp://h/', '--tool', 't'], 'target must be an http or https URL, got "ftp://h/"'],
])('wrong usage %j: exit code 2', async (args, message) => {
  const { code, stdout, stderr } = await runHere(...args);
  expect(stderr).toContain(message);
  expect(stdout).toBe('');
  expect(code).toBe(2);
});

test('wrong usage and the exit code reach the process', async () => {
  expect(await run('http://h/')).toMatchObject({ code: 2, stdout: '' });
});

test('--help and --version print to stdout and exit with 0', async () => {
  const help = await run('--help');
  expect(help.stdout).toContain('--max-failure-rate <ratio>');
  expect(help.code).toBe(0);
  expect(await run('--version')).toMatchObject({ code: 0, stdout: '0.1.0\n' });
});

test('who has read enough of the report ends nothing', async () => {
  await using server = await serve();
  const { child, done } = start([server.url, '--tool', 't', '--concurrency', '1', '--duration', '0.2']);
  child.stdout.destroy();
  expect(await done).toMatchObject({ code: 0, stderr: '' });
});

test.each(['SIGINT', 'SIGTERM'] as const)('%s prints what was measured so far', async (signal) => {
  let answered = 0;
  let resolve = () => {};
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil;
  });
  await using server = await startRaw(({ id }, response) => {
    reply(response, { id, result: success });
    if (++answered === 20) resolve();
  });
  const { child, done } = start([server.url, '--tool', 't', '--concurrency', '1']);
  await promise;
  child.kill(signal);
  const { code, stdout } = await done;
  expect(stdout).toMatch(/measured for [\d.]+ s \(interrupted\)/);
  expect(Number(/^requests +(\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(15);
  expect(code).toBe(0);
});
