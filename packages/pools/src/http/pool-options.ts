import { checkFunction, wrongType } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import type { EgressPolicy, LookupAll } from './egress.ts';
import type { HedgePolicy } from './hedge.ts';
import type { RetryPolicy } from './retry.ts';

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
  /**
   * Repeats idempotent requests (GET, HEAD, OPTIONS, PUT, DELETE) that failed in the network or were answered 408, 429, 502,
   * 503 or 504, within `timeoutMs`. Default: none, since what is above the pool may repeat as well, and the loads multiply.
   */
  retry?: RetryPolicy | undefined;
  /**
   * Sends a GET, HEAD or OPTIONS once more, over another connection, when no answer has begun after so long, and takes the
   * first answer. Default: none. `{}`: after what 95 % of the origin's latest answers took at most.
   */
  hedge?: HedgePolicy | undefined;
  /** What may be connected to. Default: anything. `{}` is a guard against server-side request forgery: public addresses only. */
  egress?: EgressPolicy | undefined;
  /** Options for TLS, as of `tls.connect`: `ca`, `cert`, `key`, `rejectUnauthorized`, … */
  tls?: Record<string, unknown> | undefined;
  /** Resolves names. Default `dns.lookup`. */
  lookup?: LookupAll | undefined;
  /**
   * How long what a name resolved to is used for further connections; a connection that fails ends it. Milliseconds, default
   * 10,000; 0 resolves for each connection. The egress policy looks at the addresses of every connection either way.
   */
  dnsCacheMs?: number | undefined;
  /** Time. Default: the process's own. */
  clock?: Clock | undefined;
  /** For jitter, 0 to 1. Default `Math.random`. */
  random?: (() => number) | undefined;
}

/** What holds for the connections of a pool: options that were checked, with the defaults in their places. */
export interface ConnectionLimits {
  maxConnections: number;
  maxKeepAliveConnections: number;
  maxConnectionsPerOrigin: number | undefined;
  maxQueued: number;
  keepAliveMs: number;
  connectTimeoutMs: number;
  headersTimeoutMs: number;
  bodyTimeoutMs: number;
  http2: boolean;
  tls: Record<string, unknown> | undefined;
}

/** Throws for an option of the wrong kind. Numbers are checked where their defaults are. */
export function checkKinds(options: HttpPoolOptions): void {
  if (typeof options !== 'object' || options === null) throw wrongType('HttpPool.options', 'an object', options);
  const { retry, hedge, egress, tls, clock, name, http2, lookup, random } = options;
  for (const [option, value] of Object.entries({ retry, hedge, egress, tls, clock })) {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (value !== undefined && !isObject) throw wrongType(`HttpPool.${option}`, 'an object', value);
  }
  if (name !== undefined && typeof name !== 'string') throw wrongType('HttpPool.name', 'a string', name);
  if (http2 !== undefined && typeof http2 !== 'boolean') throw wrongType('HttpPool.http2', 'true or false', http2);
  for (const [option, value] of Object.entries({ lookup, random })) {
    if (value !== undefined) checkFunction(`HttpPool.${option}`, value);
  }
}
