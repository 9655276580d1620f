import { connect as dial } from 'node:net';
import { expect, test } from 'vitest';
import { call, connect, eventually, metric, startDemo } from '../demo.ts';

test('a client that pipelines requests and goes away leaves no permit taken', async () => {
  await using server = await startDemo();
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: 'get_org_structure', arguments: {} },
  });
  const request = `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const socket = dial(Number(new URL(server.url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write(request.repeat(200));
  await eventually(async () => (await metric(server, /^concurrent_requests /)) > 0);
  socket.destroy();
  await eventually(async () => (await metric(server, /^concurrent_requests /)) === 0);
  const client = await connect(server.url);
  expect((await call(client, 'get_user', { user_id: 'u1' })).isError).toBeFalsy();
  await client.close();
}, 60_000);
