import { Command, InvalidArgumentError, Option } from 'commander';

/** Everything that can be set from outside. Times are milliseconds, sizes are bytes. */
export interface Config {
  stdio: boolean;
  host: string;
  port: number;
  token?: string | undefined;
  insecure: boolean;
  allowedHosts: string[];
  allowedOrigins: string[];
  databaseUrl?: string | undefined;
  redisUrl?: string | undefined;
  upstreamUrl?: string | undefined;
  fetchOrigins: string[];
  poolMin: number;
  poolMax: number;
  maxConcurrency: number;
  maxQueue: number;
  queueTimeout: number;
  rateLimit: number;
  toolTimeout: number;
  breakerThreshold: number;
  breakerRecovery: number;
  cacheEntries: number;
  orgCacheTtl: number;
  workerThreads: number;
  maxBody: number;
  shutdownTimeout: number;
  logLevel: string;
}

const LOOPBACK = new Set(['127.0.0.1', 'localhost', '::1', '[::1]']);
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/**
 * Reads flags and environment (a flag wins).
 * Prints help or what is wrong and exits, with code 0 for `--help` and 1 for a wrong value; given `print`, throws instead of exiting.
 */
export function readConfig(argv: readonly string[], options: { print?: (text: string) => void } = {}): Config {
  const command = new Command('demo-server')
    .description('The reference MCP server of @x: every pattern over real PostgreSQL and Redis.')
    .addOption(option('--stdio', 'speak MCP over stdin and stdout instead of HTTP').default(false))
    .addOption(option('--host <address>', 'address to listen on', 'HOST').default('127.0.0.1'))
    .addOption(
      option('--port <number>', 'port to listen on; 0 chooses a free one', 'PORT')
        .argParser(integer(0, 65_535))
        .default(0),
    )
    .addOption(
      option(
        '--token <secret>',
        'bearer token that callers must send (better given as MCP_TOKEN: flags can be seen in process lists)',
        'MCP_TOKEN',
      ),
    )
    .addOption(option('--insecure', 'allow a host that is not loopback without a token').default(false))
    .addOption(
      option(
        '--allowed-hosts <names>',
        'host names, comma-separated, accepted in the Host header beside loopback names and --host',
        'ALLOWED_HOSTS',
      )
        .argParser(list)
        .default([]),
    )
    .addOption(
      option(
        '--allowed-origins <origins>',
        'origins, comma-separated, accepted in the Origin header beside loopback ones',
        'ALLOWED_ORIGINS',
      )
        .argParser(origins)
        .default([]),
    )
    .addOption(option('--database-url <url>', 'PostgreSQL to use; without it one is started', 'DATABASE_URL'))
    .addOption(option('--redis-url <url>', 'Redis to use; without it one is started', 'REDIS_URL'))
    .addOption(option('--upstream-url <url>', 'upstream HTTP API to use; without it one is started', 'UPSTREAM_URL'))
    .addOption(
      option(
        '--fetch-origins <origins>',
        'exact origins, comma-separated, that fetch_with_limit may reach beside the upstream API',
        'FETCH_ORIGINS',
      )
        .argParser(origins)
        .default([]),
    )
    .addOption(
      option('--pool-min <n>', 'PostgreSQL connections kept open', 'POOL_MIN').argParser(integer(0, 1_000)).default(10),
    )
    .addOption(
      option('--pool-max <n>', 'PostgreSQL connections at most', 'POOL_MAX').argParser(integer(1, 1_000)).default(20),
    )
    .addOption(
      option('--max-concurrency <n>', 'HTTP requests worked on at once', 'MAX_CONCURRENCY')
        .argParser(integer(1, 100_000))
        .default(64),
    )
    .addOption(
      option('--max-queue <n>', 'HTTP requests that may wait; more are answered 503', 'MAX_QUEUE')
        .argParser(integer(0, 1_000_000))
        .default(256),
    )
    .addOption(
      option('--queue-timeout <ms>', 'how long an HTTP request may wait', 'QUEUE_TIMEOUT')
        .argParser(integer(1, 600_000))
        .default(2_000),
    )
    .addOption(
      option('--rate-limit <n>', 'tool calls a second for each caller', 'RATE_LIMIT')
        .argParser(integer(1, 1_000_000))
        .default(1_000),
    )
    .addOption(
      option('--tool-timeout <ms>', 'how long one tool call may run', 'TOOL_TIMEOUT')
        .argParser(integer(1, 600_000))
        .default(30_000),
    )
    .addOption(
      option('--breaker-threshold <n>', 'failures in a row that open the circuit to a dependency', 'BREAKER_THRESHOLD')
        .argParser(integer(1, 10_000))
        .default(5),
    )
    .addOption(
      option('--breaker-recovery <ms>', 'how long an open circuit waits before it probes', 'BREAKER_RECOVERY')
        .argParser(integer(1, 3_600_000))
        .default(5_000),
    )
    .addOption(
      option('--cache-entries <n>', 'results kept in memory', 'CACHE_ENTRIES')
        .argParser(integer(1, 10_000_000))
        .default(10_000),
    )
    .addOption(
      option('--org-cache-ttl <ms>', 'how long get_org_structure is cached', 'ORG_CACHE_TTL')
        .argParser(integer(1, 86_400_000))
        .default(600_000),
    )
    .addOption(
      option('--worker-threads <n>', 'threads for CPU work', 'WORKER_THREADS').argParser(integer(1, 256)).default(2),
    )
    .addOption(
      option('--max-body <bytes>', 'largest request body accepted', 'MAX_BODY')
        .argParser(integer(1_024, 268_435_456))
        .default(4_194_304),
    )
    .addOption(
      option('--shutdown-timeout <ms>', 'how long running calls may take to end after SIGTERM', 'SHUTDOWN_TIMEOUT')
        .argParser(integer(0, 600_000))
        .default(10_000),
    )
    .addOption(
      option('--log-level <level>', 'least level that is logged, to stderr', 'LOG_LEVEL')
        .choices(LOG_LEVELS)
        .default('info'),
    )
    .addHelpText(
      'after',
      '\nEach setting can also be given in the environment variable named beside it; a flag wins. Data goes to PostgreSQL schema "mcp_demo".',
    )
    .allowExcessArguments(false)
    .showHelpAfterError('(run with --help for all settings)');
  if (options.print) command.exitOverride().configureOutput({ writeErr: options.print, writeOut: options.print });

  const config = command.parse(argv, { from: 'user' }).opts<Config>();
  // Not checked while parsing: commander repeats a refused value in its message, and these may have passwords in them.
  if (config.token === '') config.token = undefined;
  if (config.token !== undefined && !/^[\x21-\x7e]{16,4096}$/.test(config.token)) {
    command.error('error: --token (MCP_TOKEN) must be 16 to 4096 visible ASCII characters');
  }
  config.databaseUrl = optionalUrl(command, '--database-url (DATABASE_URL)', config.databaseUrl, [
    'postgres:',
    'postgresql:',
  ]);
  config.redisUrl = optionalUrl(command, '--redis-url (REDIS_URL)', config.redisUrl, ['redis:', 'rediss:']);
  config.upstreamUrl = optionalUrl(command, '--upstream-url (UPSTREAM_URL)', config.upstreamUrl, ['http:', 'https:']);
  if (config.poolMin > config.poolMax) {
    command.error(`error: --pool-min must be at most --pool-max (${config.poolMax}), got ${config.poolMin}`);
  }
  if (!config.stdio && !LOOPBACK.has(config.host) && config.token === undefined && !config.insecure) {
    command.error(
      `error: --host ${config.host} can be reached from other machines: give a bearer token (MCP_TOKEN, at least 16 characters), or --insecure to serve everyone`,
    );
  }
  return config;
}

function option(flags: string, description: string, variable?: string): Option {
  const made = new Option(flags, description);
  return variable === undefined ? made : made.env(variable);
}

function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) throw new InvalidArgumentError(`Expected an integer from ${min} to ${max}.`);
    return number;
  };
}

function list(value: string): string[] {
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function origins(value: string): string[] {
  return list(value).map((part) => {
    const parsed = URL.canParse(part) ? new URL(part) : undefined;
    if (
      parsed === undefined ||
      !/^https?:$/.test(parsed.protocol) ||
      parsed.pathname !== '/' ||
      parsed.search + parsed.hash + parsed.username !== ''
    ) {
      throw new InvalidArgumentError(
        `Expected origins such as https://api.example.com or http://127.0.0.1:8080, got "${part}".`,
      );
    }
    return parsed.origin;
  });
}

/** An empty variable counts as absent: that is what `DATABASE_URL= command` and compose files mean. */
function optionalUrl(
  command: Command,
  name: string,
  value: string | undefined,
  protocols: string[],
): string | undefined {
  if (value === undefined || value === '') return undefined;
  if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol)) {
    command.error(
      `error: ${name} must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    );
  }
  return value;
}
