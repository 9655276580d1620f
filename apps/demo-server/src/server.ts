import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { limitedTool } from '@x/backpressure/mcp';
import { startPostgres, startRedis } from '@x/local-services';
import type { Config } from './config.ts';
import { createDependencies, type Dependencies } from './dependencies.ts';
import { createHttpApp } from './http-app.ts';
import type { Logger } from './logger.ts';
import { createMcpServer } from './mcp-server.ts';
import { prepareDatabase } from './schema.ts';
import { watchRequests } from './stdio-requests.ts';
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

type Closer = () => Promise<unknown>;

/**
 * Starts everything: services that were not given, pools, data, and the MCP server. What was started is stopped again if
 * a later step fails. `onDisconnect` is called when the client of a stdio server has gone.
 */
export async function startDemoServer(config: Config, logger: Logger, onDisconnect: () => void): Promise<DemoServer> {
  const closers: Closer[] = [];
  let closed: Promise<void> | undefined;
  const close = () => (closed ??= closeAll(closers, logger));

  try {
    const addresses = await startServices(config, closers);
    const dependencies = createDependencies(config, addresses, logger);
    closers.push(() => closeDependencies(dependencies, config.shutdownTimeout));
    await Promise.all([dependencies.postgres.start(), dependencies.redis.connect()]);
    await prepareDatabase(dependencies.postgres);

    const tools = createTools(dependencies);
    const url = config.stdio
      ? await serveStdio(dependencies, tools, closers, onDisconnect)
      : await serveHttp(dependencies, tools, closers);
    return { url, upstreamUrl: addresses.upstreamUrl, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Closes what was started last first. */
async function closeAll(closers: Closer[], logger: Logger): Promise<void> {
  for (const closer of closers.reverse()) {
    await closer().catch((error) => logger.error({ err: error }, 'a part of the server did not close in order'));
  }
}

/** Starts the services whose addresses were not given. */
async function startServices(
  config: Config,
  closers: Closer[],
): Promise<{ databaseUrl: string; redisUrl: string; upstreamUrl: string }> {
  const started = async <T extends { url: string }>(
    given: string | undefined,
    start: () => Promise<T>,
    stop: (service: T) => PromiseLike<void>,
  ): Promise<string> => {
    if (given !== undefined) return given;
    const service = await start();
    closers.push(async () => stop(service));
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
    started(config.upstreamUrl, startUpstream, (service) => service.close()),
  ]);
  const [databaseUrl = '', redisUrl = '', upstreamUrl = ''] = outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
  return { databaseUrl, redisUrl, upstreamUrl: upstreamUrl.replace(/\/$/, '') };
}

async function serveHttp(dependencies: Dependencies, tools: readonly Tool[], closers: Closer[]): Promise<string> {
  const { config, admission } = dependencies;
  let draining = false;
  const server = createServer(createHttpApp(dependencies, tools, () => draining));
  server.listen(config.port, config.host);
  await once(server, 'listening');
  closers.push(async () => {
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
  closers: Closer[],
  onDisconnect: () => void,
): Promise<undefined> {
  const { config, admission } = dependencies;
  // Over HTTP a request is admitted before it is read; here the call itself has to be.
  const admitted = tools.map((tool) => ({
    ...tool,
    handler: limitedTool(admission, tool.handler, { name: tool.description.name }),
  }));
  const server = createMcpServer(admitted);
  const transport = new StdioServerTransport();
  server.server.onclose = onDisconnect;
  process.stdin.once('end', onDisconnect);
  await server.connect(transport);
  const answered = watchRequests(transport);
  closers.push(async () => {
    await withTimeout(answered(), config.shutdownTimeout).catch(() => {});
    await server.close();
  });
  return undefined;
}

async function closeDependencies(
  { postgres, redis, cache, http, web, workers, metrics }: Dependencies,
  timeoutMs: number,
): Promise<void> {
  await Promise.allSettled([
    http.close(),
    web.close(),
    workers.close({ timeoutMs }),
    cache.close(),
    postgres.close({ timeoutMs }),
    metrics.close(),
  ]);
  redis.disconnect();
}
