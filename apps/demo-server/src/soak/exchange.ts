import { type Dispatcher, Pool } from 'undici';

export interface Exchange {
  /** 0 when there was no answer. */
  status: number;
  retryAfter: string | undefined;
  /** What the server answered; or why there is no answer. */
  body: string;
  ms: number;
}

/** A client of one server with as many connections as are needed at once, and an answer to each call: it never throws. */
export class HttpClient implements AsyncDisposable {
  readonly #pool: Pool;

  constructor(origin: string, options: { timeoutMs: number }) {
    this.#pool = new Pool(origin, {
      connections: null,
      headersTimeout: options.timeoutMs,
      bodyTimeout: options.timeoutMs,
      // Far below the 5 s after which Node's server closes an idle connection: no request may meet one that is being closed.
      keepAliveTimeout: 2_000,
      keepAliveMaxTimeout: 2_000,
    });
  }

  get(path: string): Promise<Exchange> {
    return this.#exchange({ method: 'GET', path });
  }

  post(
    path: string,
    body: string | Buffer,
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<Exchange> {
    return this.#exchange({ method: 'POST', path, body, headers: { ...JSON_HEADERS, ...headers }, signal });
  }

  call(tool: string, args: unknown, signal?: AbortSignal): Promise<Exchange> {
    return this.post('/mcp', toolCall(tool, args), {}, signal);
  }

  async #exchange(request: Dispatcher.RequestOptions): Promise<Exchange> {
    const start = performance.now();
    try {
      const response = await this.#pool.request(request);
      const body = await response.body.text();
      const retryAfter = response.headers['retry-after'];
      return { status: response.statusCode, retryAfter: retryAfter?.toString(), body, ms: performance.now() - start };
    } catch (error) {
      const { code, message } = error as { code?: string; message?: string };
      return {
        status: 0,
        retryAfter: undefined,
        body: `${code ?? 'error'}: ${message}`,
        ms: performance.now() - start,
      };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }
}

export const JSON_HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
};

let lastId = 0;

export function toolCall(tool: string, args: unknown): string {
  return JSON.stringify({
    jsonrpc: '2.0',
    id: ++lastId,
    method: 'tools/call',
    params: { name: tool, arguments: args },
  });
}
