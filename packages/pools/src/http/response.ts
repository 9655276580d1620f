import type { IncomingHttpHeaders } from 'node:http';
import { PoolError } from '../errors.ts';
import type { Body } from './body.ts';
import type { HopResponse } from './hop.ts';

/** The response to a request, whatever its status. Its body can be read once, in one of four ways. */
export class HttpResponse {
  readonly status: number;
  readonly #url: URL;
  readonly #rawHeaders: IncomingHttpHeaders;
  readonly #body: Body;
  #headers: Headers | undefined;

  constructor(response: HopResponse, url: URL) {
    this.status = response.status;
    this.#url = url;
    this.#rawHeaders = response.headers;
    this.#body = response.body;
  }

  /** The address that answered: the last one, after redirects. */
  get url(): string {
    return this.#url.href;
  }

  /** Whether the status is 2xx. */
  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  get headers(): Headers {
    if (this.#headers === undefined) {
      this.#headers = new Headers();
      for (const [name, value] of Object.entries(this.#rawHeaders)) {
        for (const item of Array.isArray(value) ? value : [value]) {
          if (item !== undefined) this.#headers.append(name, item);
        }
      }
    }
    return this.#headers;
  }

  get bodyUsed(): boolean {
    return this.#body.used;
  }

  async json<T = unknown>(): Promise<T> {
    const text = decode(await this.#body.bytes());
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new PoolError('ERR_INVALID_RESPONSE', `The response of ${this.#url.origin} is not JSON`, {
        status: this.status,
        bodyStart: text.slice(0, 200),
        cause: error,
      });
    }
  }

  async text(): Promise<string> {
    return decode(await this.#body.bytes());
  }

  async bytes(): Promise<Uint8Array> {
    return this.#body.bytes();
  }

  /** The body as it arrives; the server is held back when the reader is slow. The total time-out still counts. */
  stream(): ReadableStream<Uint8Array> {
    return this.#body.stream();
  }

  /** Gives the body up and frees the connection. A body that is never read is given up when the total time-out has passed. */
  discard(): void {
    this.#body.discard();
  }
}

/** The byte order mark is not part of the text (WHATWG Encoding, "UTF-8 decode"). */
function decode(bytes: Buffer): string {
  return bytes.toString('utf8', bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0);
}

/** The milliseconds that a `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3); two that differ ask for nothing. */
export function retryAfter(header: string | string[] | undefined, wallNow: () => number): number | undefined {
  const [only, ...others] = new Set(Array.isArray(header) ? header : [header]);
  const text = others.length > 0 ? '' : (only?.trim() ?? '');
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1_000, Number.MAX_SAFE_INTEGER);
  // `Date.parse` takes `-1` and `1.5` for dates; those of HTTP begin with the day of the week.
  const date = /^[A-Za-z]{3,9},? /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - wallNow());
}
