import type { Dispatcher } from 'undici';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs, numberOption } from '../check-options.ts';
import { type Clock, systemClock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { Connections } from './connections.ts';
import { Egress, type EgressPolicy, type LookupAll } from './egress.ts';
import { Hop, type HopRequest, type HopResponse, isIdempotent, isStreamed } from './hop.ts';
import { PoolDispatcher } from './pool-dispatcher.ts';
import { redirected } from './redirect.ts';
import { HttpResponse, retryAfter } from './response.ts';

export interface HttpPoolOptions {
  /** In errors and metrics. Default `http`. */
  name?: string | undefined;
  /** Connections over all origins. Default 100, from 1. */
  maxConnections?: number | undefined;
  /** Connections kept open without work, over all origins. Default 20, from 0. */
  maxKeepAliveConnections?: number | undefined;
  /** Connections to one origin. Default: as many as leave room for other origins (at most 16 times what is left over). */
  maxConnectionsPerOrigin?: number | undefined;
  /** Requests that may wait for a connection; one more is refused with ERR_OVERLOADED. Default 10,000, from 0. */
  maxQueued?: number | undefined;
  /** How long a connection without work is kept. Milliseconds, default 30,000. */
  keepAliveMs?: number | undefined;
  /** Total time of a request: queue, redirects and body. Milliseconds, default 30,000; Infinity for none. */
  timeoutMs?: number | undefined;
  /** Time to make a connection, TLS included. Milliseconds, default 10,000. */
  connectTimeoutMs?: number | undefined;
  /** Time from the request being sent to the end of the response's headers. Milliseconds, default 0: only `timeoutMs` counts. */
  headersTimeoutMs?: number | undefined;
  /** Time between two pieces of a body. Milliseconds, default 0: only `timeoutMs` counts. */
  bodyTimeoutMs?: number | undefined;
  /** HTTP/2 with servers that offer it in the TLS handshake. Default true. */
  http2?: boolean | undefined;
  /** Redirects followed; 0 gives the redirect itself as the response. Default 5. */
  maxRedirects?: number | undefined;
  /** The most bytes of a body, as they arrive and after inflation. Default 10,485,760 (10 MiB); Infinity for no limit. */
  maxResponseBytes?: number | undefined;
  /** What may be connected to. Default: anything. `{}` is a guard against server-side request forgery: public addresses only. */
  egress?: EgressPolicy | undefined;
  /** Options for TLS, as of `tls.connect`: `ca`, `cert`, `key`, `rejectUnauthorized`, … */
  tls?: Record<string, unknown> | undefined;
  /** Resolves names. Default `dns.lookup`. */
  lookup?: LookupAll | undefined;
  /** Time. Default: the process's own. */
  clock?: Clock | undefined;
}

export interface HttpRequestOptions {
  /** Default GET. */
  method?: string | undefined;
  headers?:
    | Headers
    | Record<string, string | readonly string[] | undefined>
    | readonly (readonly [string, string])[]
    | undefined;
  body?: string | Uint8Array | URLSearchParams | AsyncIterable<Uint8Array | string> | undefined;
  /** Sent as the body, with `content-type: application/json`. */
  json?: unknown;
  signal?: AbortSignal | undefined;
  /** Total time of this request. Milliseconds. Default: the pool's. */
  timeoutMs?: number | undefined;
}

export interface HttpPoolStats {
  connections: number;
  idle: number;
  inFlight: number;
  queued: number;
  requests: number;
  responses: { [statusClass: string]: number };
  failures: { [code: string]: number };
  retries: number;
}

/** HTTP requests over warm connections that are bounded over all origins together. */
export class HttpPool implements AsyncDisposable {
  readonly name: string;
  /** For `fetch(url, { dispatcher })`: the same connections, limits of connections and egress policy. */
  readonly dispatcher: Dispatcher;
  readonly #clock: Clock;
  readonly #connections: Connections;
  readonly #timeoutMs: number;
  readonly #maxRedirects: number;
  readonly #maxResponseBytes: number;
  readonly #active = new Set<Call>();
  readonly #responses: Record<string, number> = {};
  readonly #failures: Record<string, number> = {};
  #requests = 0;
  #retries = 0;
  #closed: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: HttpPoolOptions = {}) {
    const number = (
      option: keyof HttpPoolOptions & string,
      fallback: number,
      rule: Parameters<typeof numberOption>[4],
    ) => numberOption('HttpPool', option, options[option] as number | undefined, fallback, rule);
    this.name = options.name ?? 'http';
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = number('timeoutMs', 30_000, { min: 1, infinity: true });
    this.#maxRedirects = number('maxRedirects', 5, { min: 0, integer: true });
    this.#maxResponseBytes = number('maxResponseBytes', 10_485_760, { min: 0, integer: true, infinity: true });
    this.#connections = new Connections(
      {
        maxConnections: number('maxConnections', 100, { min: 1, integer: true }),
        maxKeepAliveConnections: number('maxKeepAliveConnections', 20, { min: 0, integer: true }),
        maxConnectionsPerOrigin:
          options.maxConnectionsPerOrigin === undefined
            ? undefined
            : number('maxConnectionsPerOrigin', 1, { min: 1, integer: true }),
        maxQueued: number('maxQueued', 10_000, { min: 0, integer: true, infinity: true }),
        keepAliveMs: number('keepAliveMs', 30_000, { min: 1 }),
        connectTimeoutMs: number('connectTimeoutMs', 10_000, { min: 1, integer: true }),
        headersTimeoutMs: number('headersTimeoutMs', 0, { min: 0, integer: true }),
        bodyTimeoutMs: number('bodyTimeoutMs', 0, { min: 0, integer: true }),
        http2: options.http2 ?? true,
        tls: options.tls,
      },
      new Egress(options.egress, options.lookup),
    );
    this.dispatcher = new PoolDispatcher(this.#connections);
  }

  /** Sends a request. Any status resolves; what rejects has a `code`. */
  async request(url: string | URL, options: HttpRequestOptions = {}): Promise<HttpResponse> {
    options.signal?.throwIfAborted();
    this.#requests++;
    try {
      if (this.#closed !== undefined) throw new PoolError('ERR_POOL_CLOSED', `HttpPool ${this.name} is closed`);
      const timeoutMs = numberOption('HttpPool.request', 'timeoutMs', options.timeoutMs, this.#timeoutMs, {
        min: 1,
        infinity: true,
      });
      const response = await new Call(hopRequest(url, options), options.signal, timeoutMs, {
        connections: this.#connections,
        clock: this.#clock,
        active: this.#active,
        maxRedirects: this.#maxRedirects,
        maxBytes: this.#maxResponseBytes,
        onRetry: () => {
          this.#retries++;
        },
        onOver: this.#callOver,
      }).run();
      const statusClass = `${Math.floor(response.status / 100)}xx`;
      this.#responses[statusClass] = (this.#responses[statusClass] ?? 0) + 1;
      return response;
    } catch (error) {
      // An abort is nobody's failure.
      if (options.signal?.aborted !== true || error !== options.signal.reason) {
        const code = String((error as { code?: unknown }).code ?? 'ERR_UNKNOWN');
        this.#failures[code] = (this.#failures[code] ?? 0) + 1;
        // The stack of an error from a socket ends in the event loop; the caller wants to see the caller.
        if (error instanceof PoolError) Error.captureStackTrace(error, this.request);
      }
      throw error;
    }
  }

  get(url: string | URL, options: Omit<HttpRequestOptions, 'method'> = {}): Promise<HttpResponse> {
    return this.request(url, { ...options, method: 'GET' });
  }

  post(url: string | URL, options: Omit<HttpRequestOptions, 'method'> = {}): Promise<HttpResponse> {
    return this.request(url, { ...options, method: 'POST' });
  }

  /** The parsed body of a 2xx response; anything else rejects, with `status` and, where the server said so, `retryAfterMs`. */
  async getJson<T = unknown>(url: string | URL, options: HttpRequestOptions = {}): Promise<T> {
    const headers = { accept: 'application/json', ...headerRecord(options.headers) };
    const response = await this.request(url, { ...options, headers });
    if (response.ok) return response.json<T>();
    const wallNow = this.#clock.wallNow ?? Date.now;
    const text = await response.text().catch(() => '');
    throw new PoolError('ERR_HTTP_STATUS', `${new URL(response.url).origin} answered with status ${response.status}`, {
      status: response.status,
      retryAfterMs: retryAfter(response.headers.get('retry-after') ?? undefined, wallNow),
      bodyStart: text.slice(0, 200),
    });
  }

  stats(): HttpPoolStats {
    return {
      connections: this.#connections.size,
      idle: this.#connections.idle,
      inFlight: this.#connections.running,
      queued: this.#connections.queued,
      requests: this.#requests,
      responses: { ...this.#responses },
      failures: { ...this.#failures },
      retries: this.#retries,
    };
  }

  /** Refuses new requests and those that wait, lets running ones end (at most `timeoutMs`, default 10,000), then breaks them off. */
  close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(numberOption('HttpPool.close', 'timeoutMs', options.timeoutMs, 10_000, { min: 0 }));
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#connections.close();
    const refusal = new PoolError('ERR_POOL_CLOSED', `HttpPool ${this.name} was closed`);
    if (this.#active.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimeout(resolve, timeoutMs);
        this.#onIdle = () => {
          this.#clock.clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const call of [...this.#active]) call.abort(refusal);
    await this.#connections.destroy(refusal);
  }

  readonly #callOver = (call: Call): void => {
    this.#active.delete(call);
    if (this.#active.size === 0) this.#onIdle?.();
  };
}

interface CallContext {
  connections: Connections;
  clock: Clock;
  active: Set<Call>;
  maxRedirects: number;
  maxBytes: number;
  onRetry: () => void;
  onOver: (call: Call) => void;
}

/** One call of `request`: its hops, under one deadline and one signal, until the last body is over. */
class Call {
  #request: HopRequest;
  readonly #context: CallContext;
  readonly #removeAbort: (() => void) | undefined;
  readonly #timer: unknown;
  #hop: Hop | undefined;
  /** Redirects whose bodies are still coming in, so that their connections can be used again. */
  readonly #draining: Hop[] = [];

  constructor(request: HopRequest, signal: AbortSignal | undefined, timeoutMs: number, context: CallContext) {
    this.#request = request;
    this.#context = context;
    context.active.add(this);
    this.#removeAbort = signal === undefined ? undefined : onAbort(signal, () => this.abort(signal.reason));
    this.#timer =
      timeoutMs > longestTimerMs
        ? undefined
        : context.clock.setTimeout(() => {
            const { origin } = this.#request.url;
            this.abort(new PoolError('ERR_TIMEOUT', `${origin} did not answer within ${timeoutMs} ms`));
          }, timeoutMs);
  }

  async run(): Promise<HttpResponse> {
    try {
      for (let redirects = 0; ; redirects++) {
        const { hop, response } = await this.#sendAgainIfStale();
        const next = this.#next(response, redirects);
        if (next === undefined) {
          hop.whenOver(() => this.#end());
          return new HttpResponse(response.status, response.headers, this.#request.url.href, response.body);
        }
        response.body.drain();
        this.#draining.push(hop);
        this.#request = next;
      }
    } catch (error) {
      this.#hop?.abort(error);
      this.#end();
      throw error;
    }
  }

  abort(reason: unknown): void {
    this.#hop?.abort(reason);
  }

  #next(response: HopResponse, redirects: number): HopRequest | undefined {
    const { maxRedirects } = this.#context;
    if (maxRedirects === 0) return undefined;
    const next = redirected(this.#request, response);
    if (next === undefined || redirects < maxRedirects) return next;
    const { origin } = this.#request.url;
    throw new PoolError('ERR_TOO_MANY_REDIRECTS', `${origin} redirected more than ${maxRedirects} times`, {
      status: response.status,
    });
  }

  /** A kept connection that the server closed as the request went out says nothing of the server: once more, on another. */
  async #sendAgainIfStale(): Promise<{ hop: Hop; response: HopResponse }> {
    try {
      return await this.#send();
    } catch (error) {
      const { method, body } = this.#request;
      const lost = (error as { code?: unknown }).code === 'ERR_CONNECTION_LOST';
      if (!lost || !this.#hop?.staleConnection || !isIdempotent(method) || isStreamed(body)) throw error;
      this.#context.onRetry();
      return this.#send();
    }
  }

  #send(): Promise<{ hop: Hop; response: HopResponse }> {
    return new Promise((resolve, reject) => {
      const { connections, maxBytes } = this.#context;
      const hop = new Hop(this.#request, connections, maxBytes, (response) => resolve({ hop, response }), reject);
      this.#hop = hop;
      hop.enter();
    });
  }

  #end(): void {
    this.#context.clock.clearTimeout(this.#timer);
    this.#removeAbort?.();
    for (const hop of this.#draining) hop.abort(new PoolError('ERR_TIMEOUT', 'The call is over'));
    this.#context.onOver(this);
  }
}

function hopRequest(target: string | URL, options: HttpRequestOptions): HopRequest {
  const url = typeof target === 'string' ? parseUrl(target) : target;
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw invalidUrl(`its scheme is ${url.protocol}`);
  if (url.username !== '' || url.password !== '') throw invalidUrl('it holds credentials; send them in a header');
  const headers = headerRecord(options.headers);
  headers['accept-encoding'] ??= 'gzip, deflate, br';
  let { body } = options;
  if (options.json !== undefined) {
    body = JSON.stringify(options.json);
    headers['content-type'] ??= 'application/json';
  } else if (body instanceof URLSearchParams) {
    body = body.toString();
    headers['content-type'] ??= 'application/x-www-form-urlencoded;charset=UTF-8';
  }
  return { url, method: (options.method ?? 'GET').toUpperCase(), headers, body };
}

function parseUrl(text: string): URL {
  try {
    return new URL(text);
  } catch {
    // Node's own error carries the text, which may hold a secret.
    throw invalidUrl('it cannot be parsed');
  }
}

function invalidUrl(why: string): PoolError {
  return new PoolError('ERR_INVALID_URL', `HttpPool: the URL cannot be requested: ${why}`);
}

function headerRecord(headers: HttpRequestOptions['headers']): Record<string, string | string[]> {
  const record: Record<string, string | string[]> = {};
  if (headers === undefined) return record;
  const entries = headers instanceof Headers || Array.isArray(headers) ? headers : Object.entries(headers);
  for (const [name, value] of entries as Iterable<[string, string | readonly string[] | undefined]>) {
    if (value === undefined) continue;
    const key = name.toLowerCase();
    const values = Array.isArray(value) ? (value as string[]) : [String(value)];
    const before = record[key];
    const all = before === undefined ? values : [...(Array.isArray(before) ? before : [before]), ...values];
    record[key] = all.length === 1 && all[0] !== undefined ? all[0] : all;
  }
  return record;
}
