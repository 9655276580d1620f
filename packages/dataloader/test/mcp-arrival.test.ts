import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createLoaders, DataLoader, type Schedule } from '@x/dataloader';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const inputSchema = { id: z.string() };

/** A stateless MCP server, as most are: each `tools/call` is a request of its own with a server of its own. */
async function startServer(schedule: Schedule) {
  const batches: (readonly string[])[] = [];
  const loaders = createLoaders(() => ({
    users: new DataLoader<string, string>(
      async (ids) => {
        batches.push(ids);
        await new Promise((resolve) => setTimeout(resolve, 5));
        return ids.map((id) => `user ${id}`);
      },
      { schedule },
    ),
  }));
  const http = createServer(async (request, response) => {
    const server = new McpServer({ name: 'test', version: '1.0.0' });
    server.registerTool('get_user', { inputSchema }, async ({ id }, ctx) => ({
      content: [{ type: 'text', text: await loaders.for(ctx).users.load(id, { signal: ctx.signal }) }],
    }));
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    response.on('close', () => void server.close());
    await server.connect(transport as Parameters<typeof server.connect>[0]);
    await transport.handleRequest(request, response);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const url = new URL(`http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`);
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(url) as Parameters<typeof client.connect>[0]);
  return {
    batches,
    async call(n: number): Promise<string[]> {
      const results = await Promise.all(
        Array.from({ length: n }, (_, i) => client.callTool({ name: 'get_user', arguments: { id: String(i) } })),
      );
      return results.map((result) => (result.content as { text: string }[])[0]?.text ?? '');
    },
    async [Symbol.asyncDispose]() {
      await client.close();
      http.closeAllConnections();
      http.close();
    },
  };
}

/** The fewest batches that 20 calls made in three rounds: a machine that stalls between two arrivals splits any window. */
async function fewestBatches(schedule: Schedule): Promise<number> {
  const server = await startServer(schedule);
  try {
    // The first round opens the client's connections.
    await server.call(20);
    const counts: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      server.batches.length = 0;
      expect(await server.call(20)).toEqual(Array.from({ length: 20 }, (_, i) => `user ${i}`));
      expect(server.batches.flat()).toHaveLength(20);
      counts.push(server.batches.length);
    }
    return Math.min(...counts);
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

describe('20 parallel tools/call over Streamable HTTP', () => {
  it('come together in at most 2 batches within a window', async () => {
    expect(await fewestBatches({ windowMs: 20 })).toBeLessThanOrEqual(2);
  });

  it("come together in at most 3 batches with 'adaptive'", async () => {
    expect(await fewestBatches('adaptive')).toBeLessThanOrEqual(3);
  });

  it("come together in far fewer batches than calls with 'immediate'", async () => {
    expect(await fewestBatches('immediate')).toBeLessThanOrEqual(10);
  });
});
