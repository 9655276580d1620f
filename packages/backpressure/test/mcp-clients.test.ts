import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioV2 } from '@modelcontextprotocol/client/stdio';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as StdioV1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer as ServerV1 } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport as StdioServerV1 } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport as TransportV1 } from '@modelcontextprotocol/sdk/shared/transport.js';
import { type AuthInfo, createMcpHandler, McpServer as ServerV2 } from '@modelcontextprotocol/server';
import { StdioServerTransport as StdioServerV2, serveStdio } from '@modelcontextprotocol/server/stdio';
import { ConcurrencyLimiter } from '@x/backpressure';
import { type AdmissionOptions, type RequestHandler, requestSignal, withAdmission } from '@x/backpressure/http';
import { limitedTool, rateLimitedTool } from '@x/backpressure/mcp';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { until } from './admission-server.ts';

// What the wrappers say reaches the model whole: through both lines of the official SDK, on both wires.

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

let redis: Awaited<ReturnType<typeof startRedis>>;
let redisClient: Redis;
beforeAll(async () => {
  redis = await startRedis();
  redisClient = new Redis(redis.url);
});
afterAll(async () => {
  redisClient?.disconnect();
  await redis?.[Symbol.asyncDispose]();
});

type Result = { content: { type: 'text'; text: string }[]; structuredContent?: { hits: number }; isError?: boolean };
type Context = { signal?: AbortSignal; mcpReq?: { signal?: AbortSignal } };

/** Two tools: one whose calls end when the test says so, one of which a caller may have two. */
function service() {
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 1, random: () => 0 });
  const rateLimiter = new RedisRateLimiter({
    client: redisClient,
    limit: 2,
    intervalMs: 1e9,
    prefix: `mcp-${process.pid}-${++services}:`,
    commandTimeoutMs: 60_000,
  });
  const running: { finish: () => void; signal: AbortSignal | undefined }[] = [];
  const search = async ({ query }: { query: string }, ctx: Context): Promise<Result> => {
    const signal = ctx.mcpReq?.signal ?? ctx.signal;
    await new Promise<void>((finish) => running.push({ finish, signal }));
    return { content: [{ type: 'text', text: query }], structuredContent: { hits: 1 } };
  };
  return {
    limiter,
    running,
    search: limitedTool(limiter, search, { name: 'search' }),
    slow: limitedTool(new ConcurrencyLimiter({ limit: 1 }), search, { name: 'slow', timeoutMs: 20 }),
    twice: rateLimitedTool(rateLimiter, async (_ctx: Context): Promise<Result> => ({ content: [] }), {
      name: 'twice',
      random: () => 0,
    }),
  };
}
let services = 0;
type Service = ReturnType<typeof service>;

const input = { query: z.string() };
const output = { hits: z.number() };

function serverV1({ search, slow, twice }: Service): ServerV1 {
  const server = new ServerV1({ name: 'test', version: '1' });
  server.registerTool('search', { inputSchema: input, outputSchema: output }, search as never);
  server.registerTool('slow', { inputSchema: input, outputSchema: output }, slow as never);
  server.registerTool('twice', {}, twice as never);
  return server;
}

function serverV2({ search, slow, twice }: Service): ServerV2 {
  const server = new ServerV2({ name: 'test', version: '1' });
  const schemas = { inputSchema: z.object(input), outputSchema: z.object(output) };
  server.registerTool('search', schemas, search);
  server.registerTool('slow', schemas, slow);
  server.registerTool('twice', {}, twice);
  return server;
}

interface ToolClient {
  callTool(params: { name: string; arguments?: Record<string, unknown> }, signal?: AbortSignal): Promise<unknown>;
  listTools(): Promise<unknown>;
  close(): Promise<void>;
}
interface Wire {
  connect(service: Service, options?: { token?: string; gate?: AdmissionOptions }): Promise<ToolClient>;
}

function authInfoOf(request: IncomingMessage): AuthInfo | undefined {
  const user = request.headers.authorization?.slice('Bearer '.length);
  return user === undefined
    ? undefined
    : { token: user, clientId: 'app', scopes: [], extra: { sub: user, iss: 'https://id' } };
}

async function listen(handler: RequestHandler, gate: AdmissionOptions): Promise<URL> {
  const server = createServer(withAdmission(handler, gate)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`);
}

/** One address for each service, so that several clients meet in it. */
const urls = new WeakMap<Service, Promise<URL>>();
function urlOf(of: Service, handler: RequestHandler, gate: AdmissionOptions = {}): Promise<URL> {
  const url = urls.get(of) ?? listen(handler, gate);
  urls.set(of, url);
  return url;
}

function headersOf(token: string | undefined): { requestInit: RequestInit } {
  return { requestInit: { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } } };
}

async function connectV1(transport: TransportV1): Promise<ToolClient> {
  const client = new ClientV1({ name: 'test', version: '1' });
  await client.connect(transport);
  cleanups.push(() => client.close());
  return {
    callTool: (params, signal) => client.callTool(params, undefined, signal && { signal }),
    listTools: () => client.listTools(),
    close: () => client.close(),
  };
}

async function connectV2(transport: Parameters<ClientV2['connect']>[0], era: string): Promise<ToolClient> {
  const mode = era === 'legacy' ? ('legacy' as const) : { pin: era };
  const client = new ClientV2({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(transport);
  cleanups.push(() => client.close());
  return {
    callTool: (params, signal) => client.callTool(params, signal && { signal }),
    listTools: () => client.listTools(),
    close: () => client.close(),
  };
}

/** 1.x, stateless: a server for each request, closed when its response is over. */
const httpV1: Wire = {
  async connect(of, { token, gate } = {}) {
    const handler: RequestHandler = async (request, response) => {
      const server = serverV1(of);
      const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
      requestSignal(request, response).addEventListener('abort', () => void server.close(), { once: true });
      await server.connect(transport as TransportV1);
      await transport.handleRequest(Object.assign(request, { auth: authInfoOf(request) }) as never, response);
    };
    return connectV1(new HttpV1(await urlOf(of, handler, gate), headersOf(token)) as TransportV1);
  },
};

const httpV2 = (era: string): Wire => ({
  async connect(of, { token, gate } = {}) {
    const mcp = createMcpHandler(() => serverV2(of));
    cleanups.push(() => mcp.close());
    const handler: RequestHandler = async (request, response) => {
      const authInfo = authInfoOf(request);
      const answer = await mcp.fetch(toFetch(request, response), { ...(authInfo && { authInfo }) });
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      for await (const chunk of answer.body ?? []) response.write(chunk);
      response.end();
    };
    return connectV2(new HttpV2(await urlOf(of, handler, gate), headersOf(token)), era);
  },
});

/** What the SDK's own adapter does, with our signal. */
function toFetch(request: IncomingMessage, response: ServerResponse): Request {
  return new Request(`http://127.0.0.1${request.url}`, {
    method: request.method ?? 'GET',
    headers: request.headers as Record<string, string>,
    ...(request.method === 'POST' && { body: Readable.toWeb(request) as ReadableStream, duplex: 'half' }),
    signal: requestSignal(request, response),
  } as RequestInit);
}

/** The SDK's client starts a process, which hands the bytes on to the SDK's stdio server here, where the source runs as it is. */
async function relay(serve: (socket: Socket) => void) {
  const tcp = createTcpServer(serve).listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  cleanups.push(() => tcp.close());
  const { port } = tcp.address() as AddressInfo;
  const script = `const s = require('node:net').connect(${port}, '127.0.0.1'); process.stdin.pipe(s).pipe(process.stdout);`;
  return { command: process.execPath, args: ['-e', script] };
}

const stdioV1: Wire = {
  async connect(of) {
    const command = await relay((socket) => {
      const server = serverV1(of);
      // 1.x does not see the end of its input by itself.
      socket.once('end', () => void server.close());
      void server.connect(new StdioServerV1(socket, socket));
    });
    return connectV1(new StdioV1(command) as TransportV1);
  },
};

const stdioV2 = (era: string): Wire => ({
  async connect(of) {
    const command = await relay(
      (socket) => void serveStdio(() => serverV2(of), { transport: new StdioServerV2(socket, socket) }),
    );
    return connectV2(new StdioV2(command), era);
  },
});

const overHttp: [string, Wire][] = [
  ['1.x over HTTP', httpV1],
  ['2.x over HTTP', httpV2('2026-07-28')],
  ['2.x over HTTP, legacy', httpV2('legacy')],
];
const overStdio: [string, Wire][] = [
  ['1.x over stdio', stdioV1],
  ['2.x over stdio', stdioV2('2026-07-28')],
  ['2.x over stdio, legacy', stdioV2('legacy')],
];

describe.each([...overHttp, ...overStdio])('%s', (_name, wire) => {
  test('a busy tool says so in a result, and the schema of its output does not mind', async () => {
    const of = service();
    const client = await wire.connect(of);
    await client.listTools();
    const call = (query: string) => client.callTool({ name: 'search', arguments: { query } });
    const running = call('a');
    await until(() => of.running.length === 1);
    const waiting = call('b');
    await until(() => of.limiter.stats().queued === 1);
    expect(await call('c')).toMatchObject({
      isError: true,
      content: [
        {
          type: 'text',
          text: expect.stringMatching(
            /^"search" is busy: too many calls are waiting for it\. Nothing was done\. Try again in \d+ seconds?\.$/,
          ),
        },
      ],
      _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'queue_full', retryAfterMs: expect.any(Number) } },
    });
    of.running[0]?.finish();
    expect(await running).toMatchObject({ content: [{ text: 'a' }], structuredContent: { hits: 1 } });
    await until(() => of.running.length === 2);
    of.running[1]?.finish();
    expect(await waiting).toMatchObject({ content: [{ text: 'b' }], structuredContent: { hits: 1 } });
  });

  test('a tool that takes too long is stopped, and a result says so', async () => {
    const of = service();
    const client = await wire.connect(of);
    await client.listTools();
    expect(await client.callTool({ name: 'slow', arguments: { query: 'x' } })).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining('"slow" did not finish within 1 second and was stopped.') }],
      _meta: { 'x/error': { code: 'ERR_TIMEOUT', reason: 'timeout' } },
    });
    expect(of.running[0]?.signal?.aborted).toBe(true);
  });

  test('a rate that Redis counts, and its refusal', async () => {
    const client = await wire.connect(service());
    const call = () => client.callTool({ name: 'twice' });
    for (let n = 0; n < 2; n++) expect(((await call()) as Result).isError ?? false).toBe(false);
    expect(await call()).toMatchObject({
      isError: true,
      content: [{ text: expect.stringMatching(/^"twice" was called too often\. Nothing was done\. Try again in/) }],
      _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'rate_limited', retryAfterMs: expect.any(Number) } },
    });
  });

  test('a client that goes away leaves the queue and aborts what runs for it', async () => {
    const of = service();
    const client = await wire.connect(of);
    const call = (query: string) => client.callTool({ name: 'search', arguments: { query } }).catch(() => {});
    const calls = [call('a')];
    await until(() => of.running.length === 1);
    calls.push(call('b'));
    await until(() => of.limiter.stats().queued === 1);
    await client.close();
    await Promise.all(calls);
    await until(() => of.limiter.stats().queued === 0 && of.running[0]?.signal?.aborted === true);
    of.running[0]?.finish();
    await of.limiter.onIdle();
    expect(of.running.length).toBe(1);
  });
});

describe.each([...overStdio, overHttp[1] as [string, Wire]])('%s', (_name, wire) => {
  test('a call that is cancelled while it waits leaves the queue', async () => {
    const of = service();
    const client = await wire.connect(of);
    const call = (query: string, signal?: AbortSignal) =>
      client.callTool({ name: 'search', arguments: { query } }, signal).catch(() => 'rejected');
    const running = call('a');
    await until(() => of.running.length === 1);
    const controller = new AbortController();
    const waiting = call('b', controller.signal);
    await until(() => of.limiter.stats().queued === 1);
    controller.abort();
    expect(await waiting).toBe('rejected');
    await until(() => of.limiter.stats().queued === 0);
    of.running[0]?.finish();
    expect(await running).toMatchObject({ content: [{ text: 'a' }] });
  });
});

describe.each(overHttp)('%s', (_name, wire) => {
  test('each user of one app has a rate of its own', async () => {
    const of = service();
    const [ann, bob] = [await wire.connect(of, { token: 'ann' }), await wire.connect(of, { token: 'bob' })];
    const allowed = async (client: ToolClient) => !((await client.callTool({ name: 'twice' })) as Result).isError;
    expect([await allowed(ann), await allowed(ann), await allowed(ann)]).toEqual([true, true, false]);
    expect([await allowed(bob), await allowed(bob), await allowed(bob)]).toEqual([true, true, false]);
  });

  test('the gate’s answer fails the call at once: no client reads Retry-After or asks again', async () => {
    const of = service();
    let requests = 0;
    let refuse = false;
    const shedder = {
      check: () => {
        requests++;
        return refuse ? { reason: 'shed', retryAfterMs: 10 } : undefined;
      },
    };
    const client = await wire.connect(of, { gate: { shedder } });
    await client.listTools();
    refuse = true;
    requests = 0;
    await expect(client.callTool({ name: 'twice' })).rejects.toThrow(/overloaded|503/);
    expect(requests).toBe(1);
    refuse = false;
    expect(((await client.callTool({ name: 'twice' })) as Result).isError ?? false).toBe(false);
  });
});
