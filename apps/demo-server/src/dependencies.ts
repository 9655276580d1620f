import { createHash } from 'node:crypto';
import { ConcurrencyLimiter } from '@x/backpressure';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { CircuitBreaker } from '@x/breaker';
import { RedisSharedState } from '@x/breaker/redis';
import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { createLoaders, DataLoader } from '@x/dataloader';
import { Metrics } from '@x/metrics';
import { HttpPool } from '@x/pools/http';
import { PostgresPool } from '@x/pools/postgres';
import { WorkerPool } from '@x/pools/workers';
import { Redis } from 'ioredis';
import type { Config } from './config.ts';
import type { Logger } from './logger.ts';
import { USER_DETAILS_QUERY } from './tools/get-user-details.ts';

/** Where the server's dependencies are. */
export interface Addresses {
  databaseUrl: string;
  redisUrl: string;
  upstreamUrl: string;
}

/** Everything that lives as long as the process: made once, shared by all requests. */
export type Dependencies = ReturnType<typeof createDependencies>;

// Calls of one burst arrive over HTTP as requests of their own, a millisecond or two of parsing apart: a batch waits until
// no more come for a while.
const BATCH_SCHEDULE = { windowMs: 10, maxWaitMs: 200 };
// Below --tool-timeout, so that a dependency that hangs is the dependency's failure, and its circuit hears of it.
const DEPENDENCY_TIMEOUT_MS = 10_000;
/** Before everything that demo servers keep in Redis; those that share a Redis share it. */
const REDIS_PREFIX = 'mcp-demo:';

export function createDependencies(config: Config, addresses: Addresses, logger: Logger) {
  const dependencyTimeoutMs = Math.min(DEPENDENCY_TIMEOUT_MS, Math.ceil(config.toolTimeout * 0.8));
  const webOrigins = [new URL(addresses.upstreamUrl).origin, ...config.fetchOrigins];

  const postgres = new PostgresPool({
    connectionString: addresses.databaseUrl,
    minSize: config.poolMin,
    maxSize: config.poolMax,
    acquireTimeoutMs: dependencyTimeoutMs,
    commandTimeoutMs: dependencyTimeoutMs,
  });
  const redis = new Redis(addresses.redisUrl, {
    lazyConnect: true,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
  });
  // The cache goes on without Redis; what is wrong with the connection is still of interest.
  redis.on('error', (error) => logger.warn({ err: error }, 'redis'));
  const cache = new Cache({
    name: 'results',
    maxEntries: config.cacheEntries,
    remote: new RedisTier({ client: redis, prefix: `${REDIS_PREFIX}results:` }),
  });

  const http = new HttpPool({ timeoutMs: dependencyTimeoutMs });
  const web = new HttpPool({
    maxResponseBytes: 1_048_576,
    maxRedirects: 5,
    egress: { allowOrigins: webOrigins, allowPublic: false },
  });
  const workers = new WorkerPool<typeof import('./statistics.worker.ts')>({
    filename: new URL('./statistics.worker.js', import.meta.url),
    maxThreads: config.workerThreads,
    maxQueue: 64,
  });

  const loaders = createLoaders(() => ({
    userDetails: new DataLoader<string, Record<string, unknown>>(
      async (ids, { signal }) => {
        const rows = await postgres.fetch<{ id: string }>(USER_DETAILS_QUERY, [ids], { signal });
        return new Map(rows.map((row) => [row.id, row]));
      },
      { name: 'userDetails', schedule: BATCH_SCHEDULE, maxBatchSize: 200 },
    ),
  }));

  const circuits = new RedisSharedState({
    client: redis,
    key: `${REDIS_PREFIX}circuits:${dependenciesId(addresses)}`,
  });
  const breaker = {
    failureThreshold: config.breakerThreshold,
    recoveryTimeoutMs: config.breakerRecovery,
    shared: circuits,
  };
  const breakers = {
    postgres: new CircuitBreaker({ ...breaker, name: 'postgres', classify: classifyPostgres }),
    upstream: new CircuitBreaker({ ...breaker, name: 'upstream' }),
  };

  // What one dependency can take at once; waiting calls are bounded by the admission limiter in front of all of them.
  const limiter = (limit: number) =>
    new ConcurrencyLimiter({ limit, maxQueue: config.maxConcurrency + config.maxQueue });
  const limiters = {
    postgres: limiter(config.poolMax * 2),
    upstream: limiter(100),
    web: limiter(20),
    cpu: limiter(config.workerThreads * 2),
  };
  // Of one URL each, over all calls of fetch_with_limit together.
  const webFetches = new ConcurrencyLimiter({ limit: 10, maxQueue: 5_000, queueTimeoutMs: 60_000 });
  const admission = new ConcurrencyLimiter({
    limit: config.maxConcurrency,
    maxQueue: config.maxQueue,
    order: 'adaptive',
    queueTimeoutMs: config.queueTimeout,
  });
  const rateLimiter = new RedisRateLimiter({
    client: redis,
    prefix: `${REDIS_PREFIX}rate:`,
    limit: config.rateLimit,
    intervalMs: 1_000,
    // Few run more than one server: while Redis is away each gives its callers the whole rate.
    localShare: 1,
  });

  const metrics = new Metrics();
  metrics.observe('limiter', 'admission', admission, { admission: true });
  for (const [name, thing] of Object.entries(limiters)) metrics.observe('limiter', name, thing);
  for (const [name, thing] of Object.entries(breakers)) metrics.observe('breaker', name, thing);
  metrics.observe('limiter', 'web-fetches', webFetches);
  metrics.observe('cache', 'results', cache, { remote: true });
  metrics.observe('rate-limiter', 'callers', rateLimiter);
  metrics.observe('loader', 'userDetails', loaders.userDetails);
  metrics.observe('pool', 'postgres', postgres);
  metrics.observe('http', 'upstream', http);
  metrics.observe('http', 'web', web);
  metrics.observe('workers', 'statistics', workers);

  return {
    config,
    logger,
    upstreamUrl: addresses.upstreamUrl,
    postgres,
    redis,
    cache,
    http,
    web,
    webOrigins,
    workers,
    loaders,
    circuits,
    breakers,
    limiters,
    webFetches,
    admission,
    rateLimiter,
    metrics,
  };
}

/** Servers share circuits only where they have the same database and upstream. Hashed, since the URL has a password in it. */
function dependenciesId({ databaseUrl, upstreamUrl }: Addresses): string {
  const { host, pathname } = new URL(databaseUrl);
  return createHash('sha256')
    .update(JSON.stringify([host, pathname, upstreamUrl]))
    .digest('hex')
    .slice(0, 32);
}

/**
 * What speaks against the database itself: no connection, no answer, no resources, a server on its way down or up (classes
 * 08, 53, 57P, 58, XX of PostgreSQL's appendix A). What it says about one caller's values must not shut all others out.
 */
function classifyPostgres(outcome: { error: unknown } | { value: unknown }): 'success' | 'failure' | 'ignore' {
  if ('value' in outcome) return 'success';
  const { code } = (outcome.error ?? {}) as { code?: unknown };
  return typeof code === 'string' &&
    /^(ERR_(TIMEOUT|UNREACHABLE|CONNECT\w*|AUTHENTICATION|NO_SUCH_DATABASE|TOO_MANY_CONNECTIONS|COMMIT_UNKNOWN)|08\w{3}|53\w{3}|57P0\d|58\w{3}|XX\w{3})$/.test(
      code,
    )
    ? 'failure'
    : 'ignore';
}
