import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import express from 'express';
import { expect, test, vi } from 'vitest';
import { mcpEndpoint } from '../src/mcp-endpoint.ts';
import { createMcpServer } from '../src/mcp-server.ts';
import { eventually } from './demo.ts';

test('a connection that stays open keeps nothing of the calls that it has brought', async () => {
  const close = vi.fn();
  const app = express().use(
    express.json(),
    mcpEndpoint(() => {
      const server = createMcpServer([]);
      server.server.onclose = close;
      return server;
    }),
  );
  const sockets: Socket[] = [];
  const server = createServer(app)
    .on('connection', (socket) => sockets.push(socket))
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ping = async () => {
    const outgoing = request({
      agent,
      port: (server.address() as AddressInfo).port,
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    });
    outgoing.end(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }));
    const [response] = await once(outgoing, 'response');
    expect(response.statusCode).toBe(200);
    await response.resume();
    await once(response, 'end');
  };

  const listeners = async (calls: number) => {
    await ping();
    await eventually(() => close.mock.calls.length === calls);
    return sockets[0]?.listenerCount('close');
  };
  const afterOne = await listeners(1);
  await listeners(2);
  expect(await listeners(3)).toBe(afterOne);
  expect(sockets).toHaveLength(1);
  agent.destroy();
  server.close();
});
