import type { IncomingMessage, ServerResponse } from 'node:http';
import { refuseRequest } from './http-refusal.ts';
import type { Priority } from './waiting-room.ts';

/** What a `ConcurrencyLimiter` has of use here. */
export interface AdmissionLimiter {
  tryAcquire(): AdmissionPermit | undefined;
  acquire(options: { signal: AbortSignal; priority?: Priority; key?: string }): Promise<AdmissionPermit>;
}

interface AdmissionPermit {
  release(): void;
}

/** What a `RateLimiter` has of use here, and one that asks another process. */
export interface AdmissionRateLimiter {
  consume(key: string): Promise<{ readonly allowed: boolean; readonly retryAfterMs: number }>;
}

/** What a `LoadShedder` has of use here. */
export interface AdmissionShedder {
  check(options: { priority: Priority }): { readonly reason: string; readonly retryAfterMs: number } | undefined;
}

export interface AdmissionOptions {
  /** How many requests may be in work, and how many may wait. A permit is held until the response is finished or the client has gone. */
  limiter?: AdmissionLimiter | undefined;
  /** How often one caller may ask. A request over it is answered 429. */
  rateLimiter?: AdmissionRateLimiter | undefined;
  /** Looked at first: is the process itself well? */
  shedder?: AdmissionShedder | undefined;
  /** The caller, for the rate limit and for fairness in the queue. Default: the socket's remote address. Give one where the server is behind a proxy: else all are one caller. */
  key?: ((request: IncomingMessage) => string) | undefined;
  /** Default: all are `'default'`. */
  priority?: ((request: IncomingMessage) => Priority) | undefined;
  /** Requests that are always let through. Default: the paths /health, /healthz, /livez, /readyz and /metrics. */
  exempt?: ((request: IncomingMessage) => boolean) | undefined;
}

/** A `node:http` request listener. An Express, Connect or Koa app's callback is one. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => unknown;

/**
 * Puts a gate in front of a request handler: what cannot be served in time is answered at once, before its body is read,
 * with 503 (over capacity) or 429 (over its rate), `Retry-After`, and a JSON-RPC error.
 */
export function withAdmission(
  handler: RequestHandler,
  options: AdmissionOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  const { limiter, rateLimiter, shedder, priority, key = remoteAddress, exempt = isHealthPath } = options;

  const enter = (request: IncomingMessage, response: ServerResponse, importance: Priority): void => {
    if (limiter === undefined) {
      handler(request, response);
      return;
    }
    const permit = limiter.tryAcquire();
    if (permit !== undefined) serve(request, response, permit);
    else void queue(limiter, request, response, importance);
  };

  const queue = async (
    from: AdmissionLimiter,
    request: IncomingMessage,
    response: ServerResponse,
    importance: Priority,
  ): Promise<void> => {
    const gone = new AbortController();
    const onGone = (): void => gone.abort();
    response.once('close', onGone);
    let permit: AdmissionPermit;
    try {
      permit = await from.acquire({ signal: gone.signal, priority: importance, key: key(request) });
    } catch (error) {
      response.off('close', onGone);
      if (!gone.signal.aborted) refuse(request, response, error);
      return;
    }
    response.off('close', onGone);
    serve(request, response, permit);
  };

  const serve = (request: IncomingMessage, response: ServerResponse, permit: AdmissionPermit): void => {
    // 'close' comes after the last byte was handed over, and also when the client has gone before that.
    response.once('close', () => permit.release());
    handler(request, response);
  };

  const checkRate = async (
    by: AdmissionRateLimiter,
    request: IncomingMessage,
    response: ServerResponse,
    importance: Priority,
  ): Promise<void> => {
    const verdict = await by.consume(key(request));
    if (response.closed) return;
    if (verdict.allowed) enter(request, response, importance);
    else refuseRequest(request, response, { status: 429, reason: 'rate_limited', retryAfterMs: verdict.retryAfterMs });
  };

  return (request, response) => {
    if (exempt(request)) {
      handler(request, response);
      return;
    }
    const importance = priority?.(request) ?? 'default';
    const shed = shedder?.check({ priority: importance });
    if (shed !== undefined) refuseRequest(request, response, { status: 503, ...shed });
    else if (rateLimiter !== undefined) void checkRate(rateLimiter, request, response, importance);
    else enter(request, response, importance);
  };
}

function refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const { code, reason, retryAfterMs } = (error ?? {}) as Record<string, unknown>;
  if (code !== 'ERR_OVERLOADED') throw error;
  refuseRequest(request, response, {
    status: 503,
    reason: String(reason),
    retryAfterMs: typeof retryAfterMs === 'number' ? retryAfterMs : 1_000,
  });
}

function remoteAddress(request: IncomingMessage): string {
  return request.socket.remoteAddress ?? '';
}

function isHealthPath(request: IncomingMessage): boolean {
  const path = request.url ?? '';
  const end = path.indexOf('?');
  return healthPaths.has(end === -1 ? path : path.slice(0, end));
}

const healthPaths: ReadonlySet<string> = new Set(['/health', '/healthz', '/livez', '/readyz', '/metrics']);
