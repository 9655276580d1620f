import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { z } from 'zod';

export interface RunningServer extends AsyncDisposable {
  url: string;
}

export async function listen(listener: RequestListener): Promise<RunningServer> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** `echo` sends a notification before its answer. */
function createMcpServer(seen: unknown[]): McpServer {
  const server = new McpServer({ name: 'test', version: '1.0.0' }, { capabilities: { logging: {} } });
  server.registerTool('echo', { inputSchema: { text: z.string() } }, async (args, extra) => {
    seen.push({ ...args, id: extra.requestId, session: extra.sessionId });
    await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'on its way' } });
    return { content: [{ type: 'text', text: args.text }] };
  });
  server.registerTool('fail', {}, async () => ({ isError: true, content: [{ type: 'text', text: 'no such user' }] }));
  server.registerTool('refuse', {}, async () => ({
    isError: true,
    content: [{ type: 'text', text: 'The database is resting. Retry in 2 s.' }],
    _meta: { 'x/error': { code: 'ERR_CIRCUIT_OPEN', reason: 'open', retryAfterMs: 2_000 } },
  }));
  return server;
}

export async function startStateless(enableJsonResponse: boolean): Promise<RunningServer & { seen: unknown[] }> {
  const seen: unknown[] = [];
  const running = await listen(async (request, response) => {
    const server = createMcpServer(seen);
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse });
    response.on('close', () => void server.close());
    // The SDK's class does not fit its own interface under exactOptionalPropertyTypes.
    await server.connect(transport as Transport);
    await transport.handleRequest(request, response);
  });
  return { ...running, seen };
}

export async function startSessionful(): Promise<
  RunningServer & { seen: unknown[]; sessions: Map<string, StreamableHTTPServerTransport>; opened: () => number }
> {
  const seen: unknown[] = [];
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  let opened = 0;
  const running = await listen(async (request, response) => {
    const id = request.headers['mcp-session-id'];
    let transport = typeof id === 'string' ? sessions.get(id) : undefined;
    if (transport === undefined && id !== undefined) {
      response.writeHead(404).end();
      return;
    }
    if (transport === undefined) {
      const created = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (session) => {
          opened++;
          sessions.set(session, created);
        },
        onsessionclosed: (session) => void sessions.delete(session),
      });
      await createMcpServer(seen).connect(created as Transport);
      transport = created;
    }
    await transport.handleRequest(request, response);
  });
  return { ...running, seen, sessions, opened: () => opened };
}

export interface JsonRpcRequest {
  id?: number;
  method: string;
  params: { name: string; arguments: Record<string, unknown> };
}

/** A server without the SDK: does the handshake, and leaves tools/call to `call`. */
export async function startRaw(
  call: (message: JsonRpcRequest, response: ServerResponse, request: IncomingMessage) => unknown,
): Promise<RunningServer & { messages: JsonRpcRequest[]; headers: IncomingMessage['headers'][] }> {
  const messages: JsonRpcRequest[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const running = await listen(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const message = JSON.parse(body) as JsonRpcRequest;
    messages.push(message);
    headers.push(request.headers);
    if (message.method === 'initialize') reply(response, { id: message.id, result: { protocolVersion: '2025-06-18' } });
    else if (message.id === undefined) response.writeHead(202).end();
    else await call(message, response, request);
  });
  return { ...running, messages, headers };
}

export function reply(response: ServerResponse, message: object, status = 200): void {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', ...message }));
}

export const success = { content: [{ type: 'text', text: 'ok' }] };
