import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { limitedTool } from '@x/backpressure/mcp';
import { startPostgres, startRedis } from '@x/local-services';
import { Closers } from './closers.ts';
import type { Config } from './config.ts';
import { type Addresses, createDependencies, type Dependencies } from './dependencies.ts';
import { createHttpApp } from './http-app.ts';
import type { Logger } from './logger.ts';
import { createMcpServer } from './mcp-server.ts';
import { prepareDatabase } from './schema.ts';
import { watchRequests } from './stdio-requests.ts';
import { failure } from './tool-failures.ts';
import { createTools } from './tools/all-tools.ts';
import type { Tool } from './tools/tool.ts';
import { startUpstream } from './upstream/start-upstream.ts';
import { withTimeout } from './with-timeout.ts';

export interface DemoServer {
  /** Where MCP is served; undefined in stdio mode. */
  url?: string | undefined;
  upstreamUrl: string;
  /** Refuses new calls, lets running ones end (at most `--shutdown-timeout`), closes pools, stops what was started. */
  close(): Promise<void>;
}

export interface StartOptions {
  /** Called when the client of a stdio server has gone. */
  onDisconnect: () => void;
  /** Ends the start: what was started is stopped, and the start rejects. */
  signal: AbortSignal;
}

// Longer than a body of the largest size takes on a slow line, and short enough that slow senders do not hold their places.
const REQUEST_TIMEOUT_MS = 10_000;
const REDIS_START_MS = 3_000;

/** Starts everything: services that were not given, pools, data, and the MCP server. What was started is stopped again if a later step fails. */
export async function startDemoServer(config: Config, logger: Logger, options: StartOptions): Promise<DemoServer> {
  const { signal, onDisconnect } = options;
  const closers = new Closers(logger);
  const close = () => closers.close();
  signal.addEventListener('abort', close, { once: true });
  try {
    const addresses = await startServices(config, closers, logger);
    signal.throwIfAborted();
    const dependencies = createDependencies(config, addresses, logger);
    await closers.add(() => closeDependencies(dependencies, config.shutdownTimeout));
    await Promise.all([dependencies.postgres.start(), connectRedis(dependencies)]);
    await prepareDatabase(dependencies.postgres);
    signal.throwIfAborted();

    const tools = createTools(dependencies);
    const url = config.stdio
      ? await serveStdio(dependencies, tools, closers, onDisconnect)
      : await serveHttp(dependencies, tools, closers);
    return { url, upstreamUrl: addresses.upstreamUrl, close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    signal.removeEventListener('abort', close);
  }
}

/** Starts the services whose addresses were not given. */
async function startServices(config: Config, closers: Closers, logger: Logger): Promise<Addresses> {
  const started = async <T extends { url: string }>(
    given: string | undefined,
    start: () => Promise<T>,
    stop: (service: T) => PromiseLike<void>,
  ): Promise<string> => {
    if (given !== undefined) return given;
    const service = await start();
    await closers.add(async () => stop(service));
    return service.url;
  };
  // All are awaited before a failure is passed on, so that none is left running unknown to `closers`.
  const outcomes = await Promise.allSettled([
    started(
      config.databaseUrl,
      () => startPostgres({ external: false }),
      (service) => service[Symbol.asyncDispose](),
    ),
    started(
      config.redisUrl,
      () => startRedis({ external: false }),
      (service) => service[Symbol.asyncDispose](),
    ),
    started(
      config.upstreamUrl,
      () => startUpstream(logger),
      (service) => service.close(),
    ),
  ]);
  const [databaseUrl = '', redisUrl = '', upstreamUrl = ''] = outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
  return { databaseUrl, redisUrl, upstreamUrl: upstreamUrl.replace(/\/$/, '') };
}

/** The cache works without Redis, and finds it when it comes: a start waits for it a little, and goes on. */
async function connectRedis({ redis, logger }: Dependencies): Promise<void> {
  if (redis.status === 'ready') return;
  // What needs it may have begun to connect already.
  const connected = redis.status === 'wait' ? redis.connect() : once(redis, 'ready');
  await withTimeout<unknown>(connected, REDIS_START_MS).catch((error) =>
    logger.warn({ err: error }, 'redis cannot be reached: results are cached in memory only until it can'),
  );
}

async function serveHttp(dependencies: Dependencies, tools: readonly Tool[], closers: Closers): Promise<string> {
  const { config, admission } = dependencies;
  let draining = false;
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: 1_000 },
    createHttpApp(dependencies, tools, () => draining),
  );
  server.listen(config.port, config.host);
  await once(server, 'listening');
  await closers.add(async () => {
    draining = true;
    await drain(server, () => admission.close({ timeoutMs: config.shutdownTimeout }));
  });
  const { port } = server.address() as AddressInfo;
  return `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}/mcp`;
}

/** Stops accepting, waits for what is in flight, then cuts what is left. */
async function drain(server: Server, workIsDone: () => Promise<unknown>): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  await workIsDone().catch(() => {});
  server.closeAllConnections();
  await closed;
}

async function serveStdio(
  dependencies: Dependencies,
  tools: readonly Tool[],
  closers: Closers,
  onDisconnect: () => void,
): Promise<undefined> {
  const { config, admission, logger } = dependencies;
  let draining = false;
  // Over HTTP a request is admitted before it is read; here the call itself has to be.
  const admitted = tools.map((tool) => {
    const handler = limitedTool(admission, tool.handler, { name: tool.description.name });
    return {
      ...tool,
      handler: async (...call: Parameters<typeof handler>) => (draining ? goodbye() : handler(...call)),
    };
  });
  const server = createMcpServer(admitted);
  const transport = new StdioServerTransport();
  server.server.onclose = onDisconnect;
  server.server.onerror = (error) =>
    logger.warn({ err: error }, 'what came in was no JSON-RPC message, or could not be answered');
  process.stdin.once('end', onDisconnect);
  // Each write to a pipe that nobody reads fails anew, those of calls that still run too.
  const nobodyReads = new Promise<void>((resolve) => process.stdout.on('error', () => resolve()));
  void nobodyReads.then(onDisconnect);
  await server.connect(transport);
  const answered = watchRequests(transport);
  await closers.add(async () => {
    draining = true;
    await withTimeout(Promise.race([answered(), nobodyReads]), config.shutdownTimeout).catch(() => {});
    await server.close();
  });
  return undefined;
}

function goodbye(): CallToolResult {
  return failure('The server is stopping. Nothing was done. Try again in 2 seconds.', {
    code: 'ERR_OVERLOADED',
    reason: 'draining',
    retryAfterMs: 2_000,
  });
}

async function closeDependencies(
  { postgres, redis, cache, circuits, rateLimiter, http, web, workers, metrics }: Dependencies,
  timeoutMs: number,
): Promise<void> {
  await Promise.allSettled([
    http.close(),
    web.close(),
    workers.close({ timeoutMs }),
    cache.close({ timeoutMs }),
    circuits.close(),
    rateLimiter.close(),
    postgres.close({ timeoutMs }),
    metrics.close(),
  ]);
  redis.disconnect();
}
