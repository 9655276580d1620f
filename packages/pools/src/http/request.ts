import { wrongType } from '../check-options.ts';
import { PoolError } from '../errors.ts';
import type { HopRequest } from './hop.ts';

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
  /** `false`: no second request beside this one, though the pool has a policy for them. */
  hedge?: boolean | undefined;
}

/** The first request of a call: checked, its names in lower case, its body as it is sent. */
export function hopRequest(target: string | URL, method: string, options: HttpRequestOptions): HopRequest {
  // By what it can do: a URL may be of another realm.
  if (typeof target !== 'string' && typeof target?.href !== 'string') {
    throw wrongType('HttpPool.request.url', 'a string or a URL', target);
  }
  if (typeof method !== 'string') throw wrongType('HttpPool.request.method', 'a string', method);
  // A URL is copied: its owner may change it while the request waits.
  const url = parseUrl(typeof target === 'string' ? target : String(target));
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw invalidUrl(`its scheme is ${url.protocol}`);
  if (url.username !== '' || url.password !== '') throw invalidUrl('it holds credentials; send them in a header');
  if (method.toUpperCase() === 'CONNECT') throw invalidRequest('a tunnel (CONNECT) cannot be asked for');
  const headers = headerRecord(options.headers);
  headers['accept-encoding'] ??= 'gzip, deflate, br';
  let { body } = options;
  if (options.json !== undefined) {
    body = serialized(options.json);
    headers['content-type'] ??= 'application/json';
  } else if (body instanceof URLSearchParams) {
    body = body.toString();
    headers['content-type'] ??= 'application/x-www-form-urlencoded;charset=UTF-8';
  }
  if (!isSendable(body))
    throw wrongType('HttpPool.request.body', 'a string, bytes, URLSearchParams or an async iterable', body);
  return { url, origin: url.origin, method: method.toUpperCase(), headers, body };
}

/** A FormData is none of them: what undici knows as one is its own. */
function isSendable(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return typeof body === 'string' || (body ?? undefined) === undefined;
  return (
    ArrayBuffer.isView(body) || body instanceof ArrayBuffer || body instanceof Blob || Symbol.asyncIterator in body
  );
}

function parseUrl(text: string): URL {
  try {
    return new URL(text);
  } catch {
    // Node's own error carries the text, which may hold a secret.
    throw invalidUrl('it cannot be parsed');
  }
}

function serialized(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw invalidRequest('what is given as json cannot be serialized', error);
  }
  if (text === undefined) throw invalidRequest('what is given as json is nothing that JSON knows');
  return text;
}

export function invalidRequest(why: string, cause?: unknown): PoolError {
  return new PoolError('ERR_INVALID_REQUEST', `HttpPool: the request cannot be sent: ${why}`, { cause });
}

function invalidUrl(why: string): PoolError {
  return new PoolError('ERR_INVALID_URL', `HttpPool: the URL cannot be requested: ${why}`);
}

export function headerRecord(headers: HttpRequestOptions['headers']): Record<string, string | string[]> {
  // Without a prototype: a header may be named `constructor`.
  const record: Record<string, string | string[]> = Object.create(null);
  if (headers === undefined) return record;
  if (typeof headers !== 'object' || headers === null) {
    throw wrongType('HttpPool.request.headers', 'Headers, an object or pairs', headers);
  }
  const entries = Symbol.iterator in headers ? headers : Object.entries(headers);
  for (const [name, value] of entries as Iterable<[string, string | readonly string[] | undefined]>) {
    if (value === undefined || value === null) continue;
    if (typeof name !== 'string') throw wrongType('HttpPool.request.headers: a name', 'a string', name);
    const key = name.toLowerCase();
    const values = Array.isArray(value) ? (value as string[]) : [String(value)];
    const before = record[key];
    const all = before === undefined ? values : [...(Array.isArray(before) ? before : [before]), ...values];
    record[key] = all.length === 1 && all[0] !== undefined ? all[0] : all;
  }
  return record;
}
