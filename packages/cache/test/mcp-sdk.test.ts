import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { Cache } from '@x/cache';
import { cachedTool } from '@x/cache/mcp';
import { expect, test } from 'vitest';
import { z } from 'zod';

test('a cached tool registers with the official SDK as its handler would, and its results pass the client’s checks', async () => {
  const cache = new Cache();
  let calls = 0;
  const server = new McpServer({ name: 'test', version: '1' });
  const greet = cachedTool(
    cache,
    async ({ name }: { name: string }) => ({
      content: [{ type: 'text' as const, text: `Hello ${name}` }],
      structuredContent: { greeting: `Hello ${name}`, call: ++calls },
    }),
    { name: 'greet', readOnly: true, scope: 'public' },
  );
  server.registerTool(
    'greet',
    {
      description: 'Greets',
      inputSchema: { name: z.string() },
      outputSchema: { greeting: z.string(), call: z.number() },
      annotations: { readOnlyHint: true },
    },
    greet,
  );
  const noInput = cachedTool(cache, async () => ({ content: [{ type: 'text' as const, text: `${++calls}` }] }), {
    name: 'no_input',
    readOnly: true,
    scope: 'public',
  });
  server.registerTool('no_input', { description: 'Counts' }, noInput);

  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  const client = new Client({ name: 'test', version: '1' });
  await Promise.all([server.connect(serverSide), client.connect(clientSide)]);
  try {
    const call = () => client.callTool({ name: 'greet', arguments: { name: 'Ann' } });
    const [first, second] = [await call(), await call()];
    expect(first.structuredContent).toEqual({ greeting: 'Hello Ann', call: 1 });
    expect(second.structuredContent).toEqual({ greeting: 'Hello Ann', call: 1 });
    expect(first._meta).toMatchObject({ 'x/cache': { tier: 'load', stale: false } });
    expect(second._meta).toMatchObject({ 'x/cache': { tier: 'memory', stale: false } });
    await client.callTool({ name: 'no_input' });
    expect((await client.callTool({ name: 'no_input' })).content).toEqual([{ type: 'text', text: '2' }]);
  } finally {
    await client.close();
    await server.close();
  }
});
