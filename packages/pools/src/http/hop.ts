import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { networkErrorCode, PoolError, type PoolErrorCode } from '../errors.ts';
import { Body, type BodySource, tooLarge } from './body.ts';
import type { Connections } from './connections.ts';
import type { Connection, Exchange } from './origin.ts';
import { invalidRequest } from './request.ts';
import type { Stallable, StallWatch } from './stall-watch.ts';

export interface HopRequest {
  url: URL;
  /** That of `url`, which works it out anew each time. */
  origin: string;
  method: string;
  headers: Record<string, string | string[]>;
  body: string | Uint8Array | AsyncIterable<Uint8Array | string> | undefined;
}

export interface HopResponse {
  status: number;
  headers: IncomingHttpHeaders;
  body: Body;
}

/** Told once what a hop came to. */
export interface HopReceiver {
  answered(hop: Hop, response: HopResponse): void;
  failed(hop: Hop, error: unknown): void;
}

/** What all hops of a pool have in common. */
export interface HopContext {
  readonly connections: Connections;
  readonly maxBytes: number;
  /** Where silence has a limit. */
  readonly stalls: StallWatch | undefined;
}

/** One request on one connection, and the body that comes back. A redirect makes another. */
export class Hop implements Exchange, BodySource, Stallable, Dispatcher.DispatchHandler {
  readonly exclusive: boolean;
  readonly #request: HopRequest;
  readonly #connections: Connections;
  readonly #maxBytes: number;
  readonly #receiver: HopReceiver;
  #onOver: (() => void) | undefined;
  #connection: Connection | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #body: Body | undefined;
  #dequeue: (() => void) | undefined;
  #aborted: { reason: unknown } | undefined;
  readonly #stalls: StallWatch | undefined;
  stallsAt: number = Number.POSITIVE_INFINITY;
  #left = false;
  #over = false;
  /** Bytes that were announced and have not come yet. */
  #missing = 0;
  /** The request went out on a connection that had been used before, and not a byte has come back. */
  staleConnection = false;

  constructor(request: HopRequest, context: HopContext, receiver: HopReceiver, alone: boolean) {
    this.#request = request;
    this.#connections = context.connections;
    this.#maxBytes = context.maxBytes;
    this.#receiver = receiver;
    this.#stalls = context.stalls;
    this.exclusive = alone || !isSafe(request.method) || isStreamed(request.body);
  }

  /** Takes a connection, or a place in the queue for one. */
  enter(): void {
    try {
      this.#dequeue = this.#connections.enter(this.#request.url, this.#request.origin, this);
    } catch (error) {
      this.#fail(error);
    }
  }

  start(connection: Connection): void {
    this.#dequeue = undefined;
    this.#connection = connection;
    this.staleConnection = connection.served > 0;
    const { url, method, headers } = this.#request;
    connection.client.dispatch(
      {
        path: url.pathname + url.search,
        method: method as Dispatcher.HttpMethod,
        headers,
        body: this.#sentBody() as NonNullable<Dispatcher.DispatchOptions['body']> | null,
        // Those of undici are there for its `fetch`. Over HTTP/2 they do not stop while the reader of a body, or the writer of one, rests.
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      this,
    );
  }

  /** Stops it wherever it is; whoever waits is told at once. */
  abort(reason: unknown): void {
    if (this.#over) return;
    this.#stalls?.leave(this);
    this.#aborted = { reason };
    if (this.#dequeue !== undefined) {
      this.#dequeue();
      this.#dequeue = undefined;
    } else if (this.#controller !== undefined) {
      this.#controller.abort(asError(reason));
    } else if (this.#connection !== undefined) {
      this.#connections.abandon(this.#connection, asError(reason));
    }
    this.#fail(reason);
  }

  /** Its server has been silent for too long. */
  stalled(): void {
    this.abort(stalled(this.#request.origin));
  }

  /** Tells once, now or later, that nothing of the body is to come any more. */
  whenOver(fn: () => void): void {
    if (this.#over) fn();
    else this.#onOver = fn;
  }

  /** The pool was closed while this waited. */
  fail(error: Error): void {
    this.#dequeue = undefined;
    this.#fail(error);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#aborted !== undefined) controller.abort(asError(this.#aborted.reason));
    else if (!isStreamed(this.#request.body)) this.#stalls?.sent(this);
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200 || this.#aborted !== undefined) return;
    this.staleConnection = false;
    this.#stalls?.heard(this);
    const length = Number(headers['content-length']);
    if (length > this.#maxBytes && this.#request.method !== 'HEAD') {
      this.abort(tooLarge(this.#maxBytes));
      return;
    }
    const encoding: string | string[] | undefined = headers['content-encoding'];
    const hasBody = this.#request.method !== 'HEAD' && status !== 204 && status !== 304;
    if (hasBody && length > 0) this.#missing = length;
    const body = new Body(this.#maxBytes, hasBody ? list(encoding) : undefined, this);
    this.#body = body;
    this.#receiver.answered(this, { status, headers, body });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#stalls?.heard(this);
    this.#missing -= chunk.length;
    this.#body?.push(chunk);
  }

  onResponseEnd(): void {
    this.#leave(false);
    // Over HTTP/2 undici takes a stream that was reset without an error for one that has ended.
    if (this.#missing > 0) this.#fail(networkError('ERR_CONNECTION_LOST', this.#request.origin));
    else this.#body?.finish();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#leave(true);
    this.#fail(this.#aborted === undefined ? toPoolError(error, this.#request.origin) : this.#aborted.reason);
  }

  pause(): void {
    this.#stalls?.hold(this);
    this.#controller?.pause();
  }

  resume(): void {
    this.#stalls?.heard(this);
    this.#controller?.resume();
  }

  breakOff(reason: unknown): void {
    this.#controller?.abort(asError(reason));
  }

  settled(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver?.();
  }

  #sentBody(): HopRequest['body'] | null {
    const { body } = this.#request;
    if (this.#stalls === undefined || !isStreamed(body)) return body ?? null;
    return watched(body, () => {
      // The answer may have come before.
      if (this.#body === undefined && !this.#left) this.#stalls?.sent(this);
    });
  }

  #fail(error: unknown): void {
    if (this.#body !== undefined) {
      this.#body.fail(error);
      return;
    }
    if (this.#over) return;
    this.settled();
    this.#receiver.failed(this, error);
  }

  #leave(failed: boolean): void {
    if (this.#left || this.#connection === undefined) return;
    this.#left = true;
    this.#stalls?.leave(this);
    this.#connections.leave(this.#connection, failed);
  }
}

/** A list that came in several lines is one list (RFC 9110, 5.3). */
function list(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(',') : header;
}

/** RFC 9110, 9.2.1, without TRACE: what may be sent twice without a thought. */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}

export function isStreamed(body: HopRequest['body']): body is AsyncIterable<Uint8Array | string> {
  return typeof body === 'object' && !(body instanceof Uint8Array);
}

/** undici does not tell its handler when all has been sent. */
async function* watched(
  body: AsyncIterable<Uint8Array | string>,
  onSent: () => void,
): AsyncGenerator<Uint8Array | string, void, undefined> {
  yield* body;
  onSent();
}

/** The error for the caller: a stable code, the origin but neither path nor query, and what undici or Node said as its cause. */
function toPoolError(error: unknown, origin: string): Error {
  if (error instanceof PoolError) return error;
  const code = (error as { code?: unknown } | undefined)?.code;
  const refusal = (error as { cause?: unknown } | undefined)?.cause;
  if (refusal instanceof PoolError) return refusal;
  switch (code) {
    case 'UND_ERR_CONNECT_TIMEOUT':
      return new PoolError('ERR_CONNECT_TIMEOUT', `${origin} did not answer in time to connect`, { cause: error });
    case 'UND_ERR_HEADERS_TIMEOUT':
    case 'UND_ERR_BODY_TIMEOUT':
      return stalled(origin, error);
    case 'UND_ERR_INVALID_ARG':
    case 'UND_ERR_NOT_SUPPORTED':
    case 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH':
      return invalidRequest('a header, its method or its body is not allowed', error);
    case 'UND_ERR_HEADERS_OVERFLOW':
      return new PoolError('ERR_RESPONSE_TOO_LARGE', `${origin} sent too many headers`, { cause: error });
    case 'UND_ERR_DESTROYED':
    case 'UND_ERR_CLOSED':
      return new PoolError('ERR_POOL_CLOSED', 'HttpPool is closed', { cause: error });
    default:
      return networkError(networkErrorCode(error), origin, error);
  }
}

function stalled(origin: string, cause?: unknown): PoolError {
  return new PoolError('ERR_TIMEOUT', `${origin} stopped answering`, { cause });
}

function networkError(code: PoolErrorCode, origin: string, cause?: unknown): PoolError {
  return new PoolError(code, `${describe[code] ?? 'The request failed'}: ${origin}`, { cause });
}

const describe: Partial<Record<string, string>> = {
  ERR_UNREACHABLE: 'Could not connect',
  ERR_CONNECTION_LOST: 'The connection broke before the response was complete',
  ERR_CONNECT_TIMEOUT: 'Could not connect in time',
};

/** undici wants an Error to abort with; a caller may abort with anything. */
function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason });
}
