import { connect as dial } from 'node:net';
import { expect, test } from 'vitest';
import { call, connect, eventually, metric, setUpstream, startDemo } from '../demo.ts';

const post = (name: string, args: object) => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } });
  return `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};

test('a client that pipelines requests and goes away leaves no permit taken', async () => {
  await using server = await startDemo();
  const socket = dial(Number(new URL(server.url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write(post('get_org_structure', {}).repeat(200));
  await eventually(async () => (await metric(server, /^concurrent_requests /)) > 0);
  socket.destroy();
  await eventually(async () => (await metric(server, /^concurrent_requests /)) === 0);
  const client = await connect(server.url);
  expect((await call(client, 'get_user', { user_id: 'u1' })).isError).toBeFalsy();
  await client.close();
}, 60_000);

test('the work of pipelined requests ends with their connection', async () => {
  await using server = await startDemo();
  await setUpstream(server, { mode: 'slow', delayMs: 60_000 });
  const socket = dial(Number(new URL(server.url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write(post('call_external_api', { endpoint: 'status' }).repeat(3));
  await eventually(async () => (await metric(server, /^http_pool_requests_total\{pool="upstream"/)) === 3);
  socket.destroy();
  await eventually(
    async () => (await metric(server, /^tool_execution_duration_seconds_count\{.*status="cancelled"/)) === 3,
  );
}, 60_000);
