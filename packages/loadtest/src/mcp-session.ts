import { readFileSync } from 'node:fs';
import type { Dispatcher } from 'undici';
import type { Clock } from './clock.ts';
import { LoadTestError } from './errors.ts';
import { Ended, Exchange, type ExchangeReply } from './exchange.ts';
import { failure, failureOf, isObject, networkFailure } from './outcome.ts';

export interface McpTarget {
  client: Dispatcher;
  url: URL;
  /** Beside those of the protocol, which they can replace. Names in lower case. */
  headers: Record<string, string>;
  timeoutMs: number;
  clock: Clock;
}

/** The newest revision with a handshake; a server that speaks an older one says so in its answer. */
const PROTOCOL_VERSION = '2025-11-25';
const INITIALIZE_ID = 0;
const CLOSE_TIMEOUT_MS = 2_000;

/** What `initialize` has settled: the protocol version, and the session if the server keeps one. */
export class McpSession {
  readonly #target: McpTarget;
  readonly #path: string;
  readonly #headers: Record<string, string>;
  readonly #hasSession: boolean;

  private constructor(target: McpTarget, headers: Record<string, string>, hasSession: boolean) {
    this.#target = target;
    this.#path = target.url.pathname + target.url.search;
    this.#headers = headers;
    this.#hasSession = hasSession;
  }

  /** @throws LoadTestError */
  static async open(target: McpTarget): Promise<McpSession> {
    const path = target.url.pathname + target.url.search;
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...target.headers,
    };
    const params = {
      protocolVersion: PROTOCOL_VERSION,
      capabilities: {},
      clientInfo: { name: 'mcp-loadtest', version: packageVersion() },
    };
    const reply = await handshake(target, {
      path,
      headers,
      id: INITIALIZE_ID,
      body: message('initialize', params, INITIALIZE_ID),
    });
    const failed = failureOf(reply, INITIALIZE_ID);
    if (failed !== undefined) throw refusedHandshake(target, reply.status, failed.message);

    const sessionId = reply.headers['mcp-session-id'];
    const sessionHeaders: Record<string, string> = {
      ...headers,
      'mcp-protocol-version': target.headers['mcp-protocol-version'] ?? negotiatedVersion(reply),
    };
    if (typeof sessionId === 'string') sessionHeaders['mcp-session-id'] = sessionId;
    const confirmed = await handshake(target, {
      path,
      headers: sessionHeaders,
      id: undefined,
      body: message('notifications/initialized', undefined, undefined),
    });
    if (confirmed.status < 200 || confirmed.status > 299) {
      const why = failure('http', String(confirmed.status), `HTTP ${confirmed.status}: ${confirmed.text}`).message;
      throw refusedHandshake(target, confirmed.status, why);
    }
    return new McpSession(target, sessionHeaders, typeof sessionId === 'string');
  }

  /** @param callParams The `params` of tools/call as JSON. */
  call(id: number, callParams: string): Exchange {
    const { client, timeoutMs, clock } = this.#target;
    return new Exchange(client, {
      path: this.#path,
      method: 'POST',
      headers: this.#headers,
      body: `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${callParams}}`,
      id,
      timeoutMs,
      clock,
    });
  }

  /** Tells a server that keeps sessions that this one is over; whether it listens does not matter. */
  async close(): Promise<void> {
    if (!this.#hasSession) return;
    const { client, clock } = this.#target;
    const timeoutMs = CLOSE_TIMEOUT_MS;
    const { 'content-type': _none, ...headers } = this.#headers;
    await new Exchange(client, {
      path: this.#path,
      method: 'DELETE',
      headers,
      body: null,
      id: undefined,
      timeoutMs,
      clock,
    }).done.catch(() => {});
  }
}

async function handshake(
  { client, url, timeoutMs, clock }: McpTarget,
  request: { path: string; headers: Record<string, string>; id: number | undefined; body: string },
): Promise<ExchangeReply> {
  try {
    return await new Exchange(client, { ...request, method: 'POST', timeoutMs, clock }).done;
  } catch (error) {
    const timedOut = error instanceof Ended && error.reason === 'timeout';
    const why = timedOut ? `no answer to initialize within ${timeoutMs} ms` : networkFailure(error).message;
    throw new LoadTestError('ERR_TARGET_UNREACHABLE', `cannot reach ${shown(url)}: ${why}`, { cause: error });
  }
}

function refusedHandshake(target: McpTarget, status: number, why: string): LoadTestError {
  const hint = status === 401 || status === 403 ? '. Does it want a header (Authorization)?' : '';
  return new LoadTestError('ERR_HANDSHAKE', `${shown(target.url)} did not accept initialize: ${why}${hint}`, {
    status,
  });
}

function negotiatedVersion({ message }: ExchangeReply): string {
  const result = isObject(message) && isObject(message.result) ? message.result : {};
  return typeof result.protocolVersion === 'string' ? result.protocolVersion : PROTOCOL_VERSION;
}

function message(method: string, params: unknown, id: number | undefined): string {
  return JSON.stringify({ jsonrpc: '2.0', id, method, params });
}

/** Query strings carry tokens. */
function shown(url: URL): string {
  return url.origin + url.pathname;
}

export function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
  return manifest.version;
}
