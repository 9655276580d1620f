import type { IncomingMessage, ServerResponse } from 'node:http';
import { isDisconnect, isOver, onceOver } from './http-disconnect.ts';
import { answerFailure, type HttpRefusal, refuseRequest } from './http-refusal.ts';
import { jittered } from './jitter.ts';
import { checkFunction, checkMethods } from './option-checks.ts';
import type { Priority } from './waiting-room.ts';

export { requestSignal } from './http-disconnect.ts';

/** What a `ConcurrencyLimiter` has of use here. */
export interface AdmissionLimiter {
  tryAcquire(): AdmissionPermit | undefined;
  acquire(options: {
    signal: AbortSignal;
    priority?: Priority;
    key?: string;
    deadlineMs?: number;
  }): Promise<AdmissionPermit>;
}

interface AdmissionPermit {
  release(): void;
  /** In place of `release` where the client has gone: how long that took says nothing about what the server can bear. */
  ignore?(): void;
}

/** What a `RateLimiter` has of use here, and one that asks another process. */
export interface AdmissionRateLimiter {
  consume(key: string): Promise<{
    readonly allowed: boolean;
    readonly retryAfterMs: number;
    /** `'deny'`: a `RedisRateLimiter` could not ask, and was told to refuse then. Not the caller's fault, so 503. */
    readonly decidedBy?: string;
  }>;
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
  /** How long the client waits for its answer, in milliseconds, where it says so: what cannot be answered in time is not begun. Default: nothing is known of it. */
  deadlineMs?: ((request: IncomingMessage) => number | undefined) | undefined;
  /** Requests that are always let through. Default: GET and HEAD of /health, /healthz, /livez, /readyz and /metrics. */
  exempt?: ((request: IncomingMessage) => boolean) | undefined;
  /**
   * Told of what the handler, or one of these options, threw or rejected with. The request is answered with 500 and a
   * JSON-RPC error that says nothing of it; where the answer has begun, the connection is cut. Default: nobody is told.
   */
  onError?: ((error: unknown) => void) | undefined;
  /** A number from 0 to 1, for the jitter of the waits after 429. Default `Math.random`. */
  random?: (() => number) | undefined;
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
  const { limiter, rateLimiter, shedder, priority, deadlineMs, onError } = options;
  const { key = remoteAddress, exempt = isHealthCheck, random = Math.random } = options;
  checkFunction('handler', handler);
  if (limiter !== undefined) checkMethods('limiter', limiter, ['tryAcquire', 'acquire']);
  if (rateLimiter !== undefined) checkMethods('rateLimiter', rateLimiter, ['consume']);
  if (shedder !== undefined) checkMethods('shedder', shedder, ['check']);
  if (priority !== undefined) checkFunction('priority', priority);
  if (deadlineMs !== undefined) checkFunction('deadlineMs', deadlineMs);
  checkFunction('key', key);
  checkFunction('exempt', exempt);
  if (onError !== undefined) checkFunction('onError', onError);
  checkFunction('random', random);

  const report = (error: unknown): void => {
    try {
      onError?.(error);
    } catch {
      // Whoever is told must not take the server down.
    }
  };

  const fail = (request: IncomingMessage, response: ServerResponse, error: unknown): void => {
    report(error);
    answerFailure(request, response);
  };

  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const failServing = (error: unknown): void => {
      // That the client has gone is nobody's failure.
      if (!isDisconnect(response, error)) fail(request, response, error);
    };
    try {
      const returned = handler(request, response);
      if (isPromiseLike(returned)) returned.then(undefined, failServing);
    } catch (error) {
      failServing(error);
    }
  };

  const serveUnder = (permit: AdmissionPermit, request: IncomingMessage, response: ServerResponse): void => {
    const release = (): void => {
      try {
        if (response.writableEnded || permit.ignore === undefined) permit.release();
        else permit.ignore();
      } catch (error) {
        report(error);
      }
    };
    if (isOver(request, response)) {
      release();
      return;
    }
    onceOver(request, response, release);
    serve(request, response);
  };

  const enter = (request: IncomingMessage, response: ServerResponse, importance: Priority): void => {
    if (limiter === undefined) {
      serve(request, response);
      return;
    }
    const permit = limiter.tryAcquire();
    if (permit !== undefined) serveUnder(permit, request, response);
    else queue(limiter, request, response, importance).catch((error: unknown) => fail(request, response, error));
  };

  const queue = async (
    from: AdmissionLimiter,
    request: IncomingMessage,
    response: ServerResponse,
    importance: Priority,
  ): Promise<void> => {
    const caller = key(request);
    const patienceMs = deadlineMs?.(request);
    const gone = new AbortController();
    const notGone = onceOver(request, response, () => gone.abort());
    let permit: AdmissionPermit;
    try {
      permit = await from.acquire({
        signal: gone.signal,
        priority: importance,
        key: caller,
        ...(patienceMs !== undefined && { deadlineMs: patienceMs }),
      });
    } catch (error) {
      notGone();
      if (!gone.signal.aborted) refuse(request, response, error);
      return;
    }
    notGone();
    serveUnder(permit, request, response);
  };

  const checkRate = async (
    by: AdmissionRateLimiter,
    request: IncomingMessage,
    response: ServerResponse,
    importance: Priority,
  ): Promise<void> => {
    const verdict = await by.consume(key(request));
    if (isOver(request, response)) return;
    if (verdict.allowed) enter(request, response, importance);
    else refuseRequest(request, response, refusalOf(verdict));
  };

  const refusalOf = ({ decidedBy, retryAfterMs: ms }: { decidedBy?: string; retryAfterMs: number }): HttpRefusal => {
    const retryAfterMs = jittered(ms, random);
    return decidedBy === 'deny'
      ? { status: 503, reason: 'rate_limiter_unavailable', retryAfterMs }
      : { status: 429, reason: 'rate_limited', retryAfterMs };
  };

  const admit = (request: IncomingMessage, response: ServerResponse): void => {
    if (exempt(request)) {
      serve(request, response);
      return;
    }
    const importance = priority?.(request) ?? 'default';
    const shed = shedder?.check({ priority: importance });
    if (shed !== undefined) {
      refuseRequest(request, response, { status: 503, ...shed });
    } else if (rateLimiter !== undefined) {
      checkRate(rateLimiter, request, response, importance).catch((error: unknown) => fail(request, response, error));
    } else {
      enter(request, response, importance);
    }
  };

  return (request, response) => {
    try {
      admit(request, response);
    } catch (error) {
      fail(request, response, error);
    }
  };
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
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

/** By its method too: work must not get past the gate under the name of a check. */
function isHealthCheck(request: IncomingMessage): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  // A proxy may ask for `http://host/health` (RFC 9112, section 3.2.2).
  const path = (request.url ?? '').replace(/^https?:\/\/[^/?#]*/i, '');
  const end = path.indexOf('?');
  return healthPaths.has(end === -1 ? path : path.slice(0, end));
}

const healthPaths: ReadonlySet<string> = new Set(['/health', '/healthz', '/livez', '/readyz', '/metrics']);
