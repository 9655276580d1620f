import { type RequestListener, STATUS_CODES } from 'node:http';
import { withAdmission } from '@x/backpressure/http';
import express, { type ErrorRequestHandler } from 'express';
import type { Dependencies } from './dependencies.ts';
import { checkBearerToken, checkHostAndOrigin, refuse } from './http-guards.ts';
import type { Logger } from './logger.ts';
import { mcpEndpoint } from './mcp-endpoint.ts';
import { createMcpServer } from './mcp-server.ts';
import type { Tool } from './tools/tool.ts';
import { withTimeout } from './with-timeout.ts';

const READY_TIMEOUT_MS = 2_000;

/**
 * The HTTP side of the server. Who may not call at all is turned away first, so that strangers hold no permits; then
 * admission, before the body is read. What watches the server is never shed: it must be answered just when it is overloaded.
 */
export function createHttpApp(
  dependencies: Dependencies,
  tools: readonly Tool[],
  isDraining: () => boolean,
): RequestListener {
  const { config, admission, metrics, logger } = dependencies;
  const app = express().disable('x-powered-by');
  app.use(
    checkHostAndOrigin({ allowedHosts: [config.host, ...config.allowedHosts], allowedOrigins: config.allowedOrigins }),
  );

  app.get('/healthz', (_request, response) => void response.json({ status: 'ok' }));
  // One check for all who ask at the same time: they are not shed, and must not take the connections that calls need.
  let answering: ReturnType<typeof dependenciesAnswer> | undefined;
  app.get('/readyz', async (_request, response) => {
    answering ??= dependenciesAnswer(dependencies).finally(() => {
      answering = undefined;
    });
    const checks = { ...(await answering), accepting: !isDraining() };
    response.status(Object.values(checks).every(Boolean) ? 200 : 503).json(checks);
  });
  const guards = config.token === undefined ? [] : [checkBearerToken(config.token)];
  app.get('/metrics', guards, metrics.handler);

  const mcp = express().disable('x-powered-by');
  mcp.use(
    express.json({ limit: config.maxBody }),
    mcpEndpoint(() => createMcpServer(tools)),
    answerError(config.maxBody, logger),
  );
  app.post(
    '/mcp',
    guards,
    withAdmission(mcp, {
      limiter: admission,
      onError: (error) => logger.error({ err: error }, 'a request could not be admitted or answered'),
    }),
  );
  app.all('/mcp', (_request, response) => {
    response.setHeader('Allow', 'POST');
    refuse(response, 405, 'This server keeps no sessions and no streams: send POST.');
  });
  app.use((_request, response) => refuse(response, 404, 'There is nothing here. MCP is at POST /mcp.'));
  app.use(answerError(config.maxBody, logger));
  return app;
}

function answerError(maxBody: number, logger: Logger): ErrorRequestHandler {
  return (error, _request, response, _next) => {
    // Parsers say with a 4xx `status` what was wrong with the request; anything else is this server's fault and nobody's business.
    const status = error.status >= 400 && error.status < 500 ? error.status : 500;
    if (status === 500) logger.error({ err: error }, 'an HTTP request failed unexpectedly');
    if (response.headersSent) return void response.destroy();
    refuse(
      response,
      status,
      error.type === 'entity.too.large' ? `The body may have at most ${maxBody} bytes.` : (STATUS_CODES[status] ?? ''),
    );
  };
}

/** Which of the dependencies answer without which calls cannot be served. */
async function dependenciesAnswer({ postgres, redis }: Dependencies): Promise<{ postgres: boolean; redis: boolean }> {
  const answers = (check: Promise<unknown>) =>
    check.then(
      () => true,
      () => false,
    );
  const [database, cache] = await Promise.all([
    answers(postgres.query('SELECT 1', [], { timeoutMs: READY_TIMEOUT_MS })),
    answers(withTimeout(redis.ping(), READY_TIMEOUT_MS)),
  ]);
  return { postgres: database, redis: cache };
}
