import { once } from 'node:events';
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Request, RequestHandler, Response } from 'express';
import { refuse } from './http-guards.ts';

/**
 * MCP over Streamable HTTP without sessions: each POST gets a server and a transport of its own, so any process of a fleet
 * can answer it and nothing is left behind. The answer is JSON; it is a stream only where the caller asked for progress.
 */
export function mcpEndpoint(createServer: () => McpServer): RequestHandler {
  return async (request: Request, response: Response) => {
    if (Array.isArray(request.body)) {
      // One HTTP request is one unit of admission: an array would bring in any number of calls on one permit.
      return refuse(
        response,
        400,
        'JSON-RPC batches are not accepted (they left MCP with revision 2025-06-18): send one message per request.',
      );
    }
    const server = createServer();
    // The stateless mode is asked for by leaving the session id generator out.
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: !asksForProgress(request.body) });
    // Without this hook a call goes on to its end after its caller has gone.
    response.once('close', () => void server.close());
    await server.connect(transport as Parameters<typeof server.connect>[0]);
    await transport.handleRequest(request, response, request.body);
    if (!response.writableFinished && !response.destroyed) await once(response, 'close');
  };
}

function asksForProgress(body: unknown): boolean {
  const message = body as { params?: { _meta?: { progressToken?: unknown } } } | undefined;
  return message?.params?._meta?.progressToken !== undefined;
}
