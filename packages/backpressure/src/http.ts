import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Clock, systemClock } from './clock.ts';
import { hasRequestSignal, isDisconnect, isOver, onceOver } from './http-disconnect.ts';
import { answerFailure, type HttpRefusal, refuseRequest } from './http-refusal.ts';
import { jittered } from './jitter.ts';
import { LateShare } from './late-share.ts';
import { checkAtLeast, checkClock, checkFunction, checkMethods } from './option-checks.ts';
import { type AdmissionPermit, RequestPermit } from './request-permit.ts';
import type { Priority } from './waiting-room.ts';

export { requestSignal } from './http-disconnect.ts';

/** What a `ConcurrencyLimiter` has of use here. */
export interface AdmissionLimiter {
  tryAcquire(): AdmissionPermit | undefined;
  acquire(options: AcquireOptions): Promise<AdmissionPermit>;
}

interface AcquireOptions {
  signal: AbortSignal;
  priority?: Priority;
  key?: string;
  deadlineMs?: number;
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
  /**
   * How many requests may be in work, and how many may wait. A permit is held until the response is closed, by its end or because the
   * client has gone, and the promise that the handler returned has settled. Of a handler that returns none nothing more is known than its response.
   */
  limiter?: AdmissionLimiter | undefined;
  /** How often one caller may ask. A request over it is answered 429. */
  rateLimiter?: AdmissionRateLimiter | undefined;
  /** Looked at first: is the process itself well? */
  shedder?: AdmissionShedder | undefined;
  /**
   * The caller, for the rate limit and for fairness in the queue. Default: the socket's remote address. Give one where the
   * server is behind a proxy, since all are one caller else, and where strangers come over IPv6, each of whom has as many addresses as he likes.
   */
  key?: ((request: IncomingMessage) => string) | undefined;
  /** Default: all are `'default'`. */
  priority?: ((request: IncomingMessage) => Priority) | undefined;
  /**
   * How long the client waits for its answer, in milliseconds, where it says so: what cannot be answered in time is not begun, and where
   * one in four of the last is answered, or left, only when nine tenths of it are over, an adaptive limit gets smaller. Default: nothing is known of it, as with
   * `NaN`, which is what becomes of a header that is no number.
   */
  deadlineMs?: ((request: IncomingMessage) => number | undefined) | undefined;
  /** Requests that are always let through. Default: GET and HEAD of /health, /healthz, /livez, /readyz and /metrics. */
  exempt?: ((request: IncomingMessage) => boolean) | undefined;
  /**
   * Told of what the handler, or one of these options, threw or rejected with. The request is answered with 500 and a
   * JSON-RPC error that says nothing of it; where the answer has begun, the connection is cut. Default: nobody is told.
   */
  onError?: ((error: unknown) => void) | undefined;
  /**
   * How long a permit is held at most when the response is closed and the handler's promise has not settled, in milliseconds.
   * `onError` is told then (ERR_TIMEOUT), for that work is under no limit any more. Default 30,000; `Infinity` for no bound.
   */
  abandonedTimeoutMs?: number | undefined;
  clock?: Clock | undefined;
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
  const { abandonedTimeoutMs = 30_000, clock = systemClock } = options;
  checkFunction('handler', handler);
  if (limiter !== undefined) checkMethods('limiter', limiter, ['tryAcquire', 'acquire']);
  if (rateLimiter !== undefined) checkMethods('rateLimiter', rateLimiter, ['consume']);
  if (shedder !== undefined) checkMethods('shedder', shedder, ['check']);
  if (priority !== undefined) checkFunction('priority', priority);
  if (deadlineMs !== undefined) checkFunction('deadlineMs', deadlineMs);
  checkFunction('key', key);
  checkFunction('exempt', exempt);
  if (onError !== undefined) checkFunction('onError', onError);
  checkAtLeast('abandonedTimeoutMs', abandonedTimeoutMs, 0);
  checkClock(clock);
  checkFunction('random', random);

  const lateShare = new LateShare();
  const report = async (error: unknown): Promise<void> => {
    try {
      await onError?.(error);
    } catch {
      // Whoever is told must not take the server down.
    }
  };

  const fail = (request: IncomingMessage, response: ServerResponse, error: unknown): void => {
    void report(error);
    answerFailure(request, response);
  };

  /** The handler's promise, which then never rejects; undefined if it returned none, or threw. */
  const serve = (request: IncomingMessage, response: ServerResponse): PromiseLike<boolean> | undefined => {
    const failServing = (error: unknown): false => {
      // That the client has gone is nobody's failure.
      if (!isDisconnect(request, response, error)) fail(request, response, error);
      return false;
    };
    try {
      const returned = handler(request, response);
      return isPromiseLike(returned) ? returned.then(() => true, failServing) : undefined;
    } catch (error) {
      failServing(error);
      return undefined;
    }
  };

  const serveUnder = (
    permit: AdmissionPermit,
    request: IncomingMessage,
    response: ServerResponse,
    deadlineAt: number | undefined,
    caller: string | undefined,
  ): void => {
    const held = new RequestPermit({ permit, deadlineAt, caller, lateShare, abandonedTimeoutMs, clock, report });
    if (isOver(request, response)) {
      held.unused();
      return;
    }
    onceOver(request, response, () => held.responseClosed(response.writableEnded));
    const work = serve(request, response);
    if (work === undefined) return;
    held.workGoesOn();
    // Work that was told of its client's leave may have ended for that alone.
    void work.then((fulfilled) => held.workEnded(fulfilled && !hasRequestSignal(response)));
  };

  const enter = (request: IncomingMessage, response: ServerResponse, importance: Priority): void => {
    if (limiter === undefined) {
      void serve(request, response);
      return;
    }
    const said = deadlineMs?.(request);
    const patienceMs = Number.isNaN(said) ? undefined : said;
    const deadlineAt = patienceMs === undefined ? undefined : clock.now() + patienceMs * patienceEnds;
    const caller = deadlineMs === undefined ? undefined : key(request);
    // Who has no time left is not served because a permit happens to be free.
    const permit = patienceMs === undefined || patienceMs > 0 ? limiter.tryAcquire() : undefined;
    if (permit !== undefined) {
      serveUnder(permit, request, response, deadlineAt, caller);
      return;
    }
    const gone = new AbortController();
    const wait: AcquireOptions = { signal: gone.signal, priority: importance, key: caller ?? key(request) };
    if (patienceMs !== undefined) wait.deadlineMs = patienceMs;
    const notGone = onceOver(request, response, () => gone.abort());
    queue(limiter, request, response, wait, notGone)
      .then((granted) => granted && serveUnder(granted, request, response, deadlineAt, caller))
      .catch((error: unknown) => fail(request, response, error));
  };

  /** A permit when it is this request's turn; undefined if it was refused, or its client has gone. */
  const queue = async (
    from: AdmissionLimiter,
    request: IncomingMessage,
    response: ServerResponse,
    wait: AcquireOptions,
    notGone: () => void,
  ): Promise<AdmissionPermit | undefined> => {
    try {
      return await from.acquire(wait);
    } catch (error) {
      if (!wait.signal.aborted) refuse(request, response, error);
      return undefined;
    } finally {
      notGone();
    }
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
    // What comes before the gate may have taken longer than the client stayed.
    if (isOver(request, response)) return;
    if (exempt(request)) {
      void serve(request, response);
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

/** As a share of the deadline: the client began to count before its request was here. */
const patienceEnds = 0.9;

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
  // A socket for both kinds writes IPv4 addresses so; one for IPv4 alone does not.
  return (request.socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
}

/** By its method too: work must not get past the gate under the name of a check. */
function isHealthCheck(request: IncomingMessage): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  // Of a path under which it is mounted Express leaves nothing in `url`: /users/health is no check.
  const { originalUrl = request.url ?? '' } = request as { originalUrl?: string };
  // A proxy may ask for `http://host/health` (RFC 9112, section 3.2.2).
  const path = originalUrl.replace(/^https?:\/\/[^/?#]*/i, '');
  const end = path.indexOf('?');
  return healthPaths.has(end === -1 ? path : path.slice(0, end));
}

const healthPaths: ReadonlySet<string> = new Set(['/health', '/healthz', '/livez', '/readyz', '/metrics']);
