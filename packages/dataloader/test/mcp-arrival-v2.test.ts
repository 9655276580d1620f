import { createServer } from 'node:http';
import { Client, StreamableHTTPClientTransport, type Transport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { StdioServerTransport } from '@modelcontextprotocol/server/stdio';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { fewestBatches, listening, stdioRelay, type UserService, userService } from './arriving-calls.ts';

const inputSchema = z.object({ id: z.string() });

function mcpServer(service: UserService): McpServer {
  const server = new McpServer({ name: 'test', version: '1.0.0' });
  server.registerTool('get_user', { inputSchema }, ({ id }, ctx) => service.getUser(id, ctx, ctx.mcpReq.signal));
  return server;
}

async function overHttp(service: UserService) {
  const handler = createMcpHandler(() => mcpServer(service));
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
  const url = new URL(`http://127.0.0.1:${await listening(http)}/mcp`);
  const close = async () => {
    http.closeAllConnections();
    http.close();
    await handler.close();
  };
  return { transport: new StreamableHTTPClientTransport(url) as Transport, close };
}

async function overStdio(service: UserService) {
  const { close, ...started } = await stdioRelay((socket) =>
    mcpServer(service).connect(new StdioServerTransport(socket, socket)),
  );
  return { transport: new StdioClientTransport(started) as Transport, close: async () => close() };
}

it.each([
  ['Streamable HTTP', '2026-07-28', overHttp],
  ['Streamable HTTP', 'legacy', overHttp],
  ['stdio', 'legacy', overStdio],
])('20 parallel tools/call over %s (%s) by the SDK 2.x come together in 1 or 2 batches', async (_wire, era, wire) => {
  const service = userService('adaptive', 0);
  const { transport, close } = await wire(service);
  const mode = era === 'legacy' ? ('legacy' as const) : { pin: era };
  const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
    expect(await fewestBatches(client, service)).toBeLessThanOrEqual(2);
  } finally {
    await client.close();
    await close();
  }
});
