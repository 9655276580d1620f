import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { createMcpHandler, McpServer, type ServerContext } from '@modelcontextprotocol/server';
import { CircuitBreaker } from '@x/breaker';
import { guardedTool } from '@x/breaker/mcp';
import { ManualClock } from '@x/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';

// Under the official SDK's 2.x line; its 1.x line is in mcp.test.ts.

const MODERN = '2026-07-28';
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

async function connect(build: (server: McpServer) => void, era: string): Promise<Client> {
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: 'test', version: '1' });
    build(server);
    return server;
  });
  const mode = era === 'legacy' ? ('legacy' as const) : { pin: era };
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  const fetch = (url: string | URL, init?: RequestInit) => handler.fetch(new Request(url, init));
  await client.connect(new StreamableHTTPClientTransport(new URL('http://127.0.0.1/mcp'), { fetch }));
  cleanUp.push(
    () => handler.close(),
    () => client.close(),
  );
  return client;
}

describe.each([MODERN, 'legacy'])('guardedTool under @modelcontextprotocol/server 2.x, %s', (era) => {
  it('answers for an open circuit in words and in _meta, also for a tool with an output schema', async () => {
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({ name: 'weather', failureThreshold: 1, recoveryTimeoutMs: 30_000, clock });
    let up = true;
    const forecast = guardedTool(breaker, async ({ city }: { city: string }, ctx: ServerContext) => {
      if (!up) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
      const structuredContent = { city, cancelled: ctx.mcpReq.signal.aborted };
      return { content: [{ type: 'text' as const, text: JSON.stringify(structuredContent) }], structuredContent };
    });
    const client = await connect((server) => {
      server.registerTool(
        'forecast',
        {
          inputSchema: z.object({ city: z.string() }),
          outputSchema: z.object({ city: z.string(), cancelled: z.boolean() }),
        },
        forecast,
      );
    }, era);
    const call = (args: Record<string, unknown>) => client.callTool({ name: 'forecast', arguments: args });

    expect((await call({ city: 'Oslo' })).structuredContent).toEqual({ city: 'Oslo', cancelled: false });
    for (let n = 0; n < 3; n += 1) await call({ city: 7 }).catch(() => {});
    expect(breaker.state).toBe('closed');

    up = false;
    await call({ city: 'Oslo' }).catch(() => {});
    expect(breaker.state).toBe('open');
    const refused = await call({ city: 'Oslo' });
    expect(refused.isError).toBe(true);
    expect(refused.content).toEqual([{ type: 'text', text: expect.stringMatching(/"weather".*30 seconds/) }]);
    expect(refused._meta?.['x/error']).toEqual({
      code: 'ERR_CIRCUIT_OPEN',
      reason: 'circuit_open',
      retryAfterMs: 30_000,
    });

    up = true;
    clock.jump(30_000);
    expect((await call({ city: 'Oslo' })).isError).toBeFalsy();
    expect(breaker.state).toBe('closed');
  });

  it('works for a tool without input, and reads the signal of its context', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 });
    const signals: AbortSignal[] = [];
    const ping = guardedTool(breaker, async (ctx: ServerContext) => {
      signals.push(ctx.mcpReq.signal);
      return { content: [{ type: 'text' as const, text: 'pong' }] };
    });
    const client = await connect((server) => server.registerTool('ping', {}, ping), era);
    expect((await client.callTool({ name: 'ping', arguments: {} })).content).toEqual([{ type: 'text', text: 'pong' }]);
    expect(signals[0]).toBeInstanceOf(AbortSignal);
    expect(breaker.stats()).toMatchObject({ successes: 1 });
  });
});
