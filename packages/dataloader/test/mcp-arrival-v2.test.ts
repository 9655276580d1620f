import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { Client, StreamableHTTPClientTransport, type Transport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { StdioServerTransport } from '@modelcontextprotocol/server/stdio';
import { createLoaders, DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';
import { z } from 'zod';

const CALLS = 20;

function userService() {
  const batches: (readonly string[])[] = [];
  const loaders = createLoaders(() => ({
    users: new DataLoader<string, string>(
      async (ids) => {
        batches.push(ids);
        return ids.map((id) => `user ${id}`);
      },
      { schedule: 'adaptive' },
    ),
  }));
  const build = () => {
    const server = new McpServer({ name: 'test', version: '1.0.0' });
    server.registerTool('get_user', { inputSchema: z.object({ id: z.string() }) }, async ({ id }, ctx) => ({
      content: [{ type: 'text', text: await loaders.for(ctx).users.load(id, { signal: ctx.mcpReq.signal }) }],
    }));
    return server;
  };
  return { batches, build };
}

type Service = ReturnType<typeof userService>;

async function overHttp(service: Service) {
  const handler = createMcpHandler(() => service.build());
  const http = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const answer = await handler.fetch(
      new Request(`http://${request.headers.host}${request.url}`, {
        method: request.method ?? 'GET',
        headers: request.headers as Record<string, string>,
        ...(chunks.length > 0 && { body: Buffer.concat(chunks) }),
      }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const transport = new StreamableHTTPClientTransport(
    new URL(`http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`),
  );
  const close = async () => {
    http.closeAllConnections();
    http.close();
    await handler.close();
  };
  return { transport: transport as Transport, close };
}

// As in the test with the first line of the SDK: the client's process hands the bytes on to a server in this one.
async function overStdio(service: Service) {
  const tcp = createTcpServer((socket) => void service.build().connect(new StdioServerTransport(socket, socket)));
  tcp.listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  const { port } = tcp.address() as AddressInfo;
  const relay = `const s = require('node:net').connect(${port}, '127.0.0.1'); process.stdin.pipe(s).pipe(process.stdout);`;
  const transport = new StdioClientTransport({ command: process.execPath, args: ['-e', relay] });
  return { transport: transport as Transport, close: async () => void tcp.close() };
}

it.each([
  ['Streamable HTTP', '2026-07-28', overHttp],
  ['Streamable HTTP', 'legacy', overHttp],
  ['stdio', 'legacy', overStdio],
])('20 parallel tools/call over %s (%s) by the SDK 2.x come together in 1 or 2 batches', async (_wire, era, wire) => {
  const service = userService();
  const { transport, close } = await wire(service);
  const mode = era === 'legacy' ? ('legacy' as const) : { pin: era };
  const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
    const counts: number[] = [];
    for (let round = 0; round <= 3; round += 1) {
      service.batches.length = 0;
      const results = await Promise.all(
        Array.from({ length: CALLS }, (_, i) => client.callTool({ name: 'get_user', arguments: { id: String(i) } })),
      );
      expect(results.map(({ content }) => (content[0] as { text: string }).text)).toEqual(
        Array.from({ length: CALLS }, (_, i) => `user ${i}`),
      );
      expect(service.batches.flat()).toHaveLength(CALLS);
      // The first round opens the client's connections.
      if (round > 0) counts.push(service.batches.length);
    }
    expect(Math.min(...counts)).toBeLessThanOrEqual(2);
  } finally {
    await client.close();
    await close();
  }
});
