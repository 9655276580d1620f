import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { beforeAll, expect, test } from 'vitest';
import { build, cleanEnvironment, eventually, main } from '../demo.ts';

// A stdio server that was told to stop went on taking calls, and cut off those that were not done when the earlier ones were. When its client
// had closed standard output, the second answer that could not be written ended the process as an uncaught error.

beforeAll(build);

/** A stdio server whose upstream API is slow, and what it has said so far. */
async function startStdio(...args: string[]) {
  const child = spawn(process.execPath, [main, '--stdio', ...args], { env: cleanEnvironment(), stdio: 'pipe' });
  const log: any[] = [];
  const answers = new Map<unknown, any>();
  createInterface({ input: child.stderr }).on('line', (line) => log.push(JSON.parse(line)));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, result } = JSON.parse(line);
    answers.set(id, result);
  });
  const logged = (message: string) => eventually(() => log.some(({ msg }) => msg === message), 30_000);
  await logged('listening');

  const control = new URL('/control', log.at(-1).upstreamUrl);
  const slow = JSON.stringify({ mode: 'slow', delayMs: 4_000 });
  await fetch(control, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: slow });
  const underWay = (calls: number) =>
    eventually(async () => ((await (await fetch(control)).json()) as any).requests === calls);

  const send = (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  const call = (id: number, name: string, args: object) =>
    send({ id, method: 'tools/call', params: { name, arguments: args } });
  const clientInfo = { name: 'raw', version: '1' };
  send({ id: 0, method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo } });
  send({ method: 'notifications/initialized' });
  return { child, exited: once(child, 'exit'), answers, logged, underWay, send, call };
}

test('a stdio server that is told to stop refuses new calls, and answers those that run', async () => {
  const { child, exited, answers, logged, underWay, call } = await startStdio();
  call(1, 'call_external_api', { endpoint: 'status' });
  await underWay(1);
  child.kill('SIGTERM');
  await logged('stopping');
  call(2, 'call_external_api', { endpoint: 'status' });
  expect((await exited)[0]).toBe(0);
  expect(answers.get(1).structuredContent.data).toEqual({ status: 'ok' });
  expect(answers.get(2)).toMatchObject({
    isError: true,
    _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'draining', retryAfterMs: expect.any(Number) } },
  });
}, 60_000);

test('answers that nobody reads end a stdio server in order', async () => {
  // Nor does it wait for those that still run: nobody would read them either.
  const { child, exited, underWay, call } = await startStdio('--shutdown-timeout', '600000');
  for (const id of [1, 2, 3]) call(id, 'call_external_api', { endpoint: 'status' });
  await underWay(3);
  child.stdout.destroy();
  expect((await exited)[0]).toBe(0);
}, 60_000);

test('a call that its client has cancelled is not waited for', async () => {
  const { child, exited, answers, underWay, send, call } = await startStdio('--shutdown-timeout', '600000');
  call(1, 'call_external_api', { endpoint: 'status' });
  await underWay(1);
  send({ method: 'notifications/cancelled', params: { requestId: 1 } });
  child.stdin.end();
  expect((await exited)[0]).toBe(0);
  expect(answers.has(1)).toBe(false);
}, 60_000);
