import { lookup as dnsLookup } from 'node:dns';
import type { Dispatcher } from 'undici';
import { checkCallOptions, numberOption } from '../check-options.ts';
import { type Clock, systemClock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { Call, type CallContext } from './call.ts';
import { Connections } from './connections.ts';
import { DnsCache } from './dns-cache.ts';
import { Egress } from './egress.ts';
import { Hedge } from './hedge.ts';
import { PoolDispatcher } from './pool-dispatcher.ts';
import { checkKinds, type HttpPoolOptions } from './pool-options.ts';
import { type HttpRequestOptions, headerRecord, hopRequest } from './request.ts';
import { type HttpResponse, retryAfter } from './response.ts';
import { Retry } from './retry.ts';
import { StallWatch } from './stall-watch.ts';

export interface HttpPoolStats {
  connections: number;
  idle: number;
  inFlight: number;
  queued: number;
  requests: number;
  responses: { [statusClass: string]: number };
  failures: { [code: string]: number };
  retries: number;
  /** Second requests sent because the first was slow, and those of them that were answered first. */
  hedges: number;
  hedgesWon: number;
}

/** HTTP requests over warm connections that are bounded over all origins together. */
export class HttpPool implements AsyncDisposable {
  readonly name: string;
  /** For `fetch(url, { dispatcher })`: the same connections, limits of connections and egress policy. */
  readonly dispatcher: Dispatcher;
  readonly #clock: Clock;
  readonly #connections: Connections;
  readonly #timeoutMs: number;
  readonly #hedge: Hedge | undefined;
  readonly #calls: CallContext;
  readonly #active = new Set<Call>();
  readonly #responses: Record<string, number> = {};
  readonly #failures: Record<string, number> = {};
  #requests = 0;
  #retries = 0;
  #hedges = 0;
  #hedgesWon = 0;
  #closed: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: HttpPoolOptions = {}) {
    checkKinds(options);
    const number = (
      option: keyof HttpPoolOptions & string,
      fallback: number,
      rule: Parameters<typeof numberOption>[4],
    ) => numberOption('HttpPool', option, options[option] as number | undefined, fallback, rule);
    this.name = options.name ?? 'http';
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = number('timeoutMs', 30_000, timeoutRule);
    this.#hedge = options.hedge === undefined ? undefined : new Hedge(options.hedge, this.#clock);
    const names = new DnsCache(
      options.lookup ?? dnsLookup,
      number('dnsCacheMs', 10_000, { min: 0, infinity: true }),
      this.#clock,
    );
    const headersTimeoutMs = number('headersTimeoutMs', 0, { min: 0, integer: true });
    const bodyTimeoutMs = number('bodyTimeoutMs', 0, { min: 0, integer: true });
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
        headersTimeoutMs,
        bodyTimeoutMs,
        http2: options.http2 ?? true,
        tls: options.tls,
      },
      new Egress(options.egress, names.lookup),
      this.#clock,
      (hostname) => names.expire(hostname),
    );
    this.dispatcher = new PoolDispatcher(this.#connections);
    this.#calls = {
      connections: this.#connections,
      stalls:
        headersTimeoutMs + bodyTimeoutMs > 0 ? new StallWatch(this.#clock, headersTimeoutMs, bodyTimeoutMs) : undefined,
      clock: this.#clock,
      active: this.#active,
      maxRedirects: number('maxRedirects', 5, { min: 0, integer: true }),
      maxBytes: number('maxResponseBytes', 10_485_760, { min: 0, integer: true, infinity: true }),
      retry:
        options.retry === undefined ? undefined : new Retry(options.retry, this.#clock, options.random ?? Math.random),
      onRetry: () => {
        this.#retries++;
      },
      onHedge: () => {
        this.#hedges++;
      },
      onHedgeWon: () => {
        this.#hedgesWon++;
      },
      onOver: (call) => {
        this.#active.delete(call);
        if (this.#active.size === 0) this.#onIdle?.();
      },
    };
  }

  /** Sends a request. Any status resolves; what rejects has a `code`. */
  request(url: string | URL, options: HttpRequestOptions = {}): Promise<HttpResponse> {
    return this.#request(url, options?.method ?? 'GET', options);
  }

  get(url: string | URL, options: Omit<HttpRequestOptions, 'method'> = {}): Promise<HttpResponse> {
    return this.#request(url, 'GET', options);
  }

  post(url: string | URL, options: Omit<HttpRequestOptions, 'method'> = {}): Promise<HttpResponse> {
    return this.#request(url, 'POST', options);
  }

  /** The parsed body of a 2xx response; anything else rejects, with `status` and, where the server said so, `retryAfterMs`. */
  async getJson<T = unknown>(url: string | URL, options: HttpRequestOptions = {}): Promise<T> {
    checkCallOptions('HttpPool.getJson', options);
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
      hedges: this.#hedges,
      hedgesWon: this.#hedgesWon,
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
    for (const call of this.#active) call.refuseWait(refusal);
    await this.#idleWithin(timeoutMs);
    for (const call of [...this.#active]) call.abort(refusal);
    await this.#connections.destroy(refusal);
  }

  /** Resolves when nothing runs, neither a request nor what goes through the dispatcher, and at the latest in so long. */
  #idleWithin(timeoutMs: number): Promise<void> {
    const isIdle = () => this.#active.size === 0 && this.#connections.running === 0;
    if (isIdle()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(resolve, timeoutMs);
      const look = () => {
        if (!isIdle()) return;
        this.#clock.clearTimeout(timer);
        resolve();
      };
      this.#onIdle = look;
      this.#connections.onLeave = look;
    });
  }

  async #request(url: string | URL, method: string, options: HttpRequestOptions): Promise<HttpResponse> {
    checkCallOptions('HttpPool.request', options);
    const { signal, hedge } = options;
    signal?.throwIfAborted();
    this.#requests++;
    try {
      if (this.#closed !== undefined) throw new PoolError('ERR_POOL_CLOSED', `HttpPool ${this.name} is closed`);
      const timeoutMs =
        options.timeoutMs === undefined
          ? this.#timeoutMs
          : numberOption('HttpPool.request', 'timeoutMs', options.timeoutMs, 0, timeoutRule);
      const request = hopRequest(url, method, options);
      const call = new Call(request, signal, timeoutMs, hedge === false ? undefined : this.#hedge, this.#calls);
      const response = await call.run();
      const statusClass = statusClasses[Math.floor(response.status / 100)] ?? 'other';
      this.#responses[statusClass] = (this.#responses[statusClass] ?? 0) + 1;
      return response;
    } catch (error) {
      // An abort is nobody's failure.
      if (signal?.aborted !== true || error !== signal.reason) {
        const code = String((error as { code?: unknown }).code ?? 'ERR_UNKNOWN');
        this.#failures[code] = (this.#failures[code] ?? 0) + 1;
        // The stack of an error from a socket ends in the event loop; the caller wants to see the caller.
        if (error instanceof PoolError) Error.captureStackTrace(error, this.#request);
      }
      throw error;
    }
  }
}

const timeoutRule = { min: 1, infinity: true } as const;

const statusClasses: readonly (string | undefined)[] = [undefined, '1xx', '2xx', '3xx', '4xx', '5xx'];
