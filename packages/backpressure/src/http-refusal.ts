import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { systemClock } from './clock.ts';
import { socketOf } from './http-disconnect.ts';
import { type JsonRpcId, withJsonRpcId } from './json-rpc-id.ts';

export interface HttpRefusal {
  status: 503 | 429;
  reason: string;
  retryAfterMs: number;
}

/**
 * Answers a request that is not served, without waiting for its body. A body that is still on its way is thrown away, so
 * that the connection can be used again and the client, which may read only after it has written, gets the answer
 * (closing with unread data would reset the connection under it); but only up to a bound, then the connection is cut.
 */
export function refuseRequest(request: IncomingMessage, response: ServerResponse, refusal: HttpRefusal): void {
  withJsonRpcId(request, (id) => {
    if (!response.headersSent && !response.closed) answerRefusal(request, response, refusal, id);
  });
}

function answerRefusal(request: IncomingMessage, response: ServerResponse, refusal: HttpRefusal, id: JsonRpcId): void {
  const { status, reason } = refusal;
  // From a rate limiter or a shedder of somebody else's it may be no number.
  const retryAfterMs = Number.isFinite(refusal.retryAfterMs) ? refusal.retryAfterMs : 1_000;
  const retryAfterSeconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id,
    error: {
      code: status,
      message: `${sentences[reason] ?? 'The server is overloaded.'} Retry in ${retryAfterSeconds} s.`,
      data: { error: names[reason] ?? 'server_overloaded', reason, retryAfterMs },
    },
  });
  const more = { 'Retry-After': retryAfterSeconds, ...(reason === 'draining' && { Connection: 'close' }) };
  answer(request, response, status, more, body);
}

/**
 * Ends a request that went wrong with 500 and no word of why. Where the answer has begun nothing true can be said any
 * more: the connection is cut, so that the client does not take what it got for all. An answer that was finished stays.
 */
export function answerFailure(request: IncomingMessage, response: ServerResponse): void {
  if (response.closed || response.writableEnded) return;
  if (response.headersSent) {
    cutOff(request, response);
    return;
  }
  try {
    // They were meant for another body: its encoding, its caching.
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    answer(request, response, 500, {}, failureBody);
  } catch {
    cutOff(request, response);
  }
}

function cutOff(request: IncomingMessage, response: ServerResponse): void {
  response.destroy();
  // The response of a pipelined request may not have the socket yet.
  socketOf(request)?.destroy();
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: OutgoingHttpHeaders,
  body: string,
): void {
  const length = Number(request.headers['content-length'] ?? 0);
  const isUnread = !request.complete && (length > 0 || request.headers['transfer-encoding'] !== undefined);
  // Its reader has destroyed it: the rest cannot be thrown away, so no other request can come after it.
  const isUnreadable = isUnread && request.destroyed;
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    ...((length > maxDiscardedBytes || isUnreadable) && { Connection: 'close' }),
    ...headers,
  });
  if (!isUnread || isUnreadable) {
    response.end(body);
    return;
  }
  response.write(body);
  discardBody(request, response);
}

/** Ends the response when the request's body has been thrown away; cuts the connection if that takes too much. */
function discardBody(request: IncomingMessage, response: ServerResponse): void {
  let bytes = 0;
  const timer = systemClock.setTimeout(() => cut(), maxDiscardMs) as NodeJS.Timeout;
  timer.unref();
  const cut = (): void => {
    finish();
    response.end();
    request.destroy();
  };
  const finish = (): void => {
    systemClock.clearTimeout(timer);
    request.off('data', count);
    request.off('end', onEnd);
    response.off('close', finish);
  };
  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > maxDiscardedBytes) cut();
  };
  const onEnd = (): void => {
    finish();
    response.end();
  };
  request.on('data', count);
  request.on('end', onEnd);
  request.on('error', () => {});
  response.on('close', finish);
}

/** What is read of a refused upload. Most clients' requests fit; what does not is cheaper to cut off than to read. */
const maxDiscardedBytes = 256 * 1024;
const maxDiscardMs = 2_000;

/** JSON-RPC 2.0, section 5.1. */
const failureBody = JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_603, message: 'Internal error' } });

const sentences: Record<string, string> = {
  rate_limited: 'Too many requests from this caller.',
  rate_limiter_unavailable: 'The server cannot tell now how often this caller has asked.',
  draining: 'The server is shutting down.',
};
const names: Record<string, string> = {
  rate_limited: 'rate_limited',
  rate_limiter_unavailable: 'server_unavailable',
};
