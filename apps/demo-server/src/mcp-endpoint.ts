import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Request, RequestHandler, Response } from 'express';
import { refuse } from './http-guards.ts';

const MAX_ARGUMENTS = 100;

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
    if (argumentCount(request.body) > MAX_ARGUMENTS) {
      // Each would be looked at and named in the answer: a large body must not make a larger one.
      return refuse(response, 400, `A tool call may have at most ${MAX_ARGUMENTS} arguments.`);
    }
    const server = createServer();
    // The stateless mode is asked for by leaving the session id generator out.
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: !asksForProgress(request.body) });
    // Without these hooks a call goes on to its end after its caller has gone. The response of a pipelined request is not
    // told of a connection that ends before its turn; the socket is.
    const close = () => void server.close();
    response.once('close', () => {
      request.socket.off('close', close);
      close();
    });
    request.socket.setMaxListeners(0).once('close', close);
    await server.connect(transport as Parameters<typeof server.connect>[0]);
    await transport.handleRequest(request, response, request.body);
  };
}

function argumentCount(body: unknown): number {
  const values = (body as { params?: { arguments?: unknown } } | undefined)?.params?.arguments;
  return typeof values === 'object' && values !== null ? Object.keys(values).length : 0;
}

function asksForProgress(body: unknown): boolean {
  const message = body as { params?: { _meta?: { progressToken?: unknown } } } | undefined;
  return message?.params?._meta?.progressToken !== undefined;
}
