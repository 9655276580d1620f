import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { createLoaders, DataLoader, type Schedule } from '@x/dataloader';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const CALLS = 20;
const inputSchema = { id: z.string() };

/** Loaders as an application has them: made once, a view for each call. A query takes `queryMs`. */
function userService(schedule: Schedule, queryMs: number) {
  const batches: (readonly string[])[] = [];
  const loaders = createLoaders(() => ({
    users: new DataLoader<string, string>(
      async (ids) => {
        batches.push(ids);
        if (queryMs > 0) await new Promise((resolve) => setTimeout(resolve, queryMs));
        return ids.map((id) => `user ${id}`);
      },
      { schedule },
    ),
  }));
  return {
    batches,
    createServer() {
      const server = new McpServer({ name: 'test', version: '1.0.0' });
      server.registerTool('get_user', { inputSchema }, async ({ id }, ctx) => ({
        content: [{ type: 'text', text: await loaders.for(ctx).users.load(id, { signal: ctx.signal }) }],
      }));
      return server;
    },
  };
}

type Service = ReturnType<typeof userService>;

/** A stateless MCP server, as most are: each `tools/call` is a request of its own with a server of its own. */
async function overHttp(service: Service) {
  const http = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const server = service.createServer();
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    response.on('close', () => void server.close());
    await server.connect(transport as Transport);
    await transport.handleRequest(request, response);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const url = new URL(`http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`);
  return {
    transport: new StreamableHTTPClientTransport(url) as Transport,
    close() {
      http.closeAllConnections();
      http.close();
    },
  };
}

/**
 * The SDK's stdio client starts a process and talks through its pipes. That process hands the bytes on to the SDK's stdio
 * server in this one, where the batches can be seen and the source runs as it is.
 */
async function overStdio(service: Service) {
  const tcp = createTcpServer((socket) => {
    void service.createServer().connect(new StdioServerTransport(socket, socket));
  });
  tcp.listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  const { port } = tcp.address() as AddressInfo;
  const relay = `const s = require('node:net').connect(${port}, '127.0.0.1'); process.stdin.pipe(s).pipe(process.stdout);`;
  return {
    transport: new StdioClientTransport({ command: process.execPath, args: ['-e', relay] }) as Transport,
    close() {
      tcp.close();
    },
  };
}

/** The fewest batches that 20 parallel calls made in three rounds: a machine that stalls between two arrivals splits any window. */
async function fewestBatches(wire: typeof overHttp | typeof overStdio, schedule: Schedule, queryMs: number) {
  const service = userService(schedule, queryMs);
  const { transport, close } = await wire(service);
  const client = new Client({ name: 'test', version: '1.0.0' });
  try {
    await client.connect(transport);
    const counts: number[] = [];
    for (let round = 0; round <= 3; round += 1) {
      service.batches.length = 0;
      const results = await Promise.all(
        Array.from({ length: CALLS }, (_, i) => client.callTool({ name: 'get_user', arguments: { id: String(i) } })),
      );
      const texts = results.map((result) => (result.content as { text: string }[])[0]?.text);
      expect(texts).toEqual(Array.from({ length: CALLS }, (_, i) => `user ${i}`));
      expect(service.batches.flat()).toHaveLength(CALLS);
      // The first round opens the client's connections.
      if (round > 0) counts.push(service.batches.length);
    }
    return Math.min(...counts);
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
    expect(await fewestBatches(wire, 'adaptive', queryMs)).toBeLessThanOrEqual(2);
  });

  it('come together in 1 or 2 batches within a window', async () => {
    expect(await fewestBatches(wire, { windowMs: 5, maxWaitMs: 50 }, 5)).toBeLessThanOrEqual(2);
    expect(await fewestBatches(wire, { windowMs: 20 }, 5)).toBeLessThanOrEqual(2);
  });

  it("come together in far fewer batches than calls with 'immediate'", async () => {
    expect(await fewestBatches(wire, 'immediate', 5)).toBeLessThanOrEqual(CALLS / 2);
  });
});

describe("20 parallel tools/call over Streamable HTTP with 'tick'", () => {
  it('make a batch each, or nearly so: the reason for the other schedules', async () => {
    expect(await fewestBatches(overHttp, 'tick', 5)).toBeGreaterThan(CALLS / 2);
  });
});
