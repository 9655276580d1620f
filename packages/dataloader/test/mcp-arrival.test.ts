import { createServer } from 'node:http';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { Schedule } from '@x/dataloader';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CALLS, fewestBatches, listening, stdioRelay, type UserService, userService } from './arriving-calls.ts';

const inputSchema = { id: z.string() };

function mcpServer(service: UserService): McpServer {
  const server = new McpServer({ name: 'test', version: '1.0.0' });
  server.registerTool('get_user', { inputSchema }, ({ id }, ctx) => service.getUser(id, ctx, ctx.signal));
  return server;
}

/** A stateless MCP server, as most are: each `tools/call` is a request of its own with a server of its own. */
async function overHttp(service: UserService) {
  const http = createServer(async (request, response) => {
    const server = mcpServer(service);
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    response.on('close', () => void server.close());
    await server.connect(transport as Transport);
    await transport.handleRequest(request, response);
  });
  const url = new URL(`http://127.0.0.1:${await listening(http)}/mcp`);
  return {
    transport: new StreamableHTTPClientTransport(url) as Transport,
    close() {
      http.closeAllConnections();
      http.close();
    },
  };
}

async function overStdio(service: UserService) {
  const { close, ...started } = await stdioRelay((socket) =>
    mcpServer(service).connect(new StdioServerTransport(socket, socket)),
  );
  return { transport: new StdioClientTransport(started) as Transport, close };
}

async function batchesOver(wire: typeof overHttp | typeof overStdio, schedule: Schedule, queryMs: number) {
  const service = userService(schedule, queryMs);
  const { transport, close } = await wire(service);
  const client = new Client({ name: 'test', version: '1.0.0' });
  try {
    await client.connect(transport);
    return await fewestBatches(client, service);
  } finally {
    await client.close();
    close();
  }
}

describe.each([
  ['Streamable HTTP', overHttp],
  ['stdio', overStdio],
])('20 parallel tools/call over %s', (_name, wire) => {
  it.each([0, 5, 30])("come together in 1 or 2 batches with 'adaptive' and queries of %i ms", async (queryMs) => {
    expect(await batchesOver(wire, 'adaptive', queryMs)).toBeLessThanOrEqual(2);
  });

  it('come together in 1 or 2 batches within a window', async () => {
    expect(await batchesOver(wire, { windowMs: 5, maxWaitMs: 50 }, 5)).toBeLessThanOrEqual(2);
    expect(await batchesOver(wire, { windowMs: 20 }, 5)).toBeLessThanOrEqual(2);
  });

  it("come together in far fewer batches than calls with 'immediate'", async () => {
    expect(await batchesOver(wire, 'immediate', 5)).toBeLessThanOrEqual(CALLS / 2);
  });
});

describe("20 parallel tools/call over Streamable HTTP with 'tick'", () => {
  it('make a batch each, or nearly so: the reason for the other schedules', async () => {
    expect(await batchesOver(overHttp, 'tick', 5)).toBeGreaterThan(CALLS / 2);
  });
});
