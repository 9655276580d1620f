import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { beforeAll, expect, test } from 'vitest';
import { build, call, cleanEnvironment, errorOf, main, text } from './demo.ts';

beforeAll(build);

test('every tool works over stdio, and a client that closes ends the server', async () => {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [main, '--stdio'],
    env: cleanEnvironment() as Record<string, string>,
    stderr: 'pipe',
  });
  let log = '';
  transport.stderr?.on('data', (chunk) => {
    log += chunk;
  });
  const client = new Client({ name: 'test', version: '1.0.0' });
  const noise: Error[] = [];
  // A line on stdout that is no JSON-RPC message is reported here.
  client.onerror = (error) => noise.push(error);
  await client.connect(transport as Parameters<typeof client.connect>[0]);

  const good: [string, Record<string, unknown>][] = [
    ['get_user', { user_id: 'u1' }],
    ['get_user_details', { user_id: 'u2' }],
    ['get_org_structure', {}],
    ['get_org_structure', {}],
    ['batch_create_assignments', { assignments: [{ title: 'x', assignee_id: 'u1' }] }],
    ['fetch_user_data', { user_ids: ['u1'] }],
    ['call_external_api', { endpoint: 'status' }],
    ['process_large_dataset', { numbers: [1, 2, 3] }],
  ];
  for (const [name, args] of good) expect((await call(client, name, args)).isError, name).toBeFalsy();
  const fetched = await call(client, 'fetch_with_limit', { urls: ['http://127.0.0.1:1/'] });
  expect(fetched.structuredContent?.failed).toMatchObject([{ code: 'ERR_EGRESS_DENIED' }]);
  expect(errorOf(await call(client, 'get_user', { user_id: 'u999999' })).code).toBe('ERR_NOT_FOUND');
  for (const name of new Set(good.map(([tool]) => tool).concat('fetch_with_limit'))) {
    const refused = await call(client, name, { nonsense: true });
    expect(refused.isError, name).toBe(true);
    expect(text(refused)).toMatch(/Invalid arguments/);
  }

  await client.close();
  expect(noise).toEqual([]);
  expect(log).toContain('"stopping"');
}, 60_000);

test('when standard input ends, calls that run or wait are still answered and the server exits 0', async () => {
  const child = spawn(process.execPath, [main, '--stdio'], {
    env: cleanEnvironment(),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const send = (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  send({
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
  });
  send({ method: 'notifications/initialized' });
  // More than are worked on at once.
  const ids = Array.from({ length: 200 }, (_, index) => 2 + index);
  for (const id of ids) {
    send({ id, method: 'tools/call', params: { name: 'get_user', arguments: { user_id: `u${id}` } } });
  }
  child.stdin.end();
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
  const lines = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map((line) => line.id).sort((a, b) => a - b)).toEqual([1, ...ids]);
  for (const { id, result } of lines.slice(1)) expect(result.structuredContent.id).toBe(`u${id}`);
}, 60_000);

test('over capacity a call is answered with a refusal', async () => {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [main, '--stdio', '--max-concurrency', '1', '--max-queue', '0'],
    env: cleanEnvironment() as Record<string, string>,
    stderr: 'ignore',
  });
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(transport as Parameters<typeof client.connect>[0]);
  const answers = await Promise.all(Array.from({ length: 20 }, () => call(client, 'get_user', { user_id: 'u1' })));
  expect(answers[0]?.isError).toBeFalsy();
  expect(errorOf(answers[1] ?? { content: [] })).toMatchObject({ code: 'ERR_OVERLOADED', reason: 'queue_full' });
  await client.close();
}, 60_000);
