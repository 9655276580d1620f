import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js';
import type { NextFunction, Request, RequestHandler, Response } from 'express';

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'];

/**
 * Refuses requests that a web page may have tricked a browser into sending (DNS rebinding, cross-site requests): the Host
 * header must name this server, and an Origin header, where there is one, an origin that is trusted.
 */
export function checkHostAndOrigin(options: { allowedHosts: string[]; allowedOrigins: string[] }): RequestHandler {
  // As a Host header gives them: an IPv6 address in brackets, and in its one canonical form.
  const allowed = options.allowedHosts.map((host) => hostName(isIPv6(host) ? `[${host}]` : host));
  const hosts = new Set([...LOOPBACK_NAMES, ...allowed]);
  const origins = new Set(options.allowedOrigins);
  return (request, response, next) => {
    const host = hostName(request.headers.host);
    if (host === undefined || !hosts.has(host)) {
      return refuse(
        response,
        403,
        'The Host header does not name this server. Its names are set with --allowed-hosts.',
      );
    }
    const origin = request.headers.origin;
    if (
      origin !== undefined &&
      !origins.has(origin) &&
      !LOOPBACK_NAMES.includes(hostName(origin.replace(/^https?:\/\//, '')) ?? '')
    ) {
      return refuse(
        response,
        403,
        'Requests from this Origin are not accepted. Accepted ones are set with --allowed-origins.',
      );
    }
    next();
  };
}

/** Asks for the bearer token, and leaves who called in `request.auth`, where the MCP transport picks it up. */
export function checkBearerToken(token: string): RequestHandler {
  const expected = digest(token);
  return (request: Request & { auth?: AuthInfo }, response: Response, next: NextFunction) => {
    const given = /^Bearer ([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      response.setHeader('WWW-Authenticate', 'Bearer');
      return refuse(response, 401, 'A bearer token is required: Authorization: Bearer <token>.');
    }
    request.auth = { token: given, clientId: 'bearer', scopes: [] };
    next();
  };
}

/** Answers with an HTTP status and a JSON-RPC error that says the same. */
export function refuse(response: Response, status: number, message: string): void {
  response.status(status).json({ jsonrpc: '2.0', id: null, error: { code: status, message } });
}

/** The host name of a `Host` header, in lower case and without its port; undefined where there is none that can be read. */
function hostName(header: string | undefined): string | undefined {
  const url = `http://${header}`;
  return header && URL.canParse(url) ? new URL(url).hostname : undefined;
}

/** Of equal length for any token, as a comparison in constant time needs. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
