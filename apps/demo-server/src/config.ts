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

const LOOPBACK = new Set(['127.0.0.1', 'localhost', '::1']);
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** The settings, with their help. */
export function createCommand(): Command {
  return new Command('demo-server')
    .description('The reference MCP server of @x: every pattern over real PostgreSQL and Redis.')
    .addOption(new Option('--stdio', 'speak MCP over stdin and stdout instead of HTTP').default(false))
    .addOption(setting('--host <address>', 'HOST', 'address to listen on', '127.0.0.1'))
    .addOption(setting('--port <number>', 'PORT', 'port to listen on; 0 chooses a free one', 0, integer(0, 65_535)))
    .addOption(
      setting(
        '--token <secret>',
        'MCP_TOKEN',
        'bearer token that callers must send; 16 to 4096 characters (process lists show flags, not variables)',
      ),
    )
    .addOption(new Option('--insecure', 'allow a host that is not loopback without a token').default(false))
    .addOption(
      setting(
        '--allowed-hosts <names>',
        'ALLOWED_HOSTS',
        'host names, comma-separated, accepted in the Host header beside loopback names and --host',
        [],
        hosts,
      ),
    )
    .addOption(
      setting(
        '--allowed-origins <origins>',
        'ALLOWED_ORIGINS',
        'origins, comma-separated, accepted in the Origin header beside loopback ones',
        [],
        origins,
      ),
    )
    .addOption(setting('--database-url <url>', 'DATABASE_URL', 'PostgreSQL to use; without it one is started'))
    .addOption(setting('--redis-url <url>', 'REDIS_URL', 'Redis to use; without it one is started'))
    .addOption(setting('--upstream-url <url>', 'UPSTREAM_URL', 'upstream HTTP API to use; without it one is started'))
    .addOption(
      setting(
        '--fetch-origins <origins>',
        'FETCH_ORIGINS',
        'exact origins, comma-separated, that fetch_with_limit may reach beside the upstream API; a private address only where the origin names it',
        [],
        origins,
      ),
    )
    .addOption(setting('--pool-min <n>', 'POOL_MIN', 'PostgreSQL connections kept open', 10, integer(0, 1_000)))
    .addOption(setting('--pool-max <n>', 'POOL_MAX', 'PostgreSQL connections at most', 20, integer(1, 1_000)))
    .addOption(setting('--max-concurrency <n>', 'MAX_CONCURRENCY', 'calls worked on at once', 64, integer(1, 100_000)))
    .addOption(
      setting(
        '--max-queue <n>',
        'MAX_QUEUE',
        'calls that may wait; over HTTP more are answered 503',
        256,
        integer(0, 1_000_000),
      ),
    )
    .addOption(setting('--queue-timeout <ms>', 'QUEUE_TIMEOUT', 'how long a call may wait', 2_000, integer(1, 600_000)))
    .addOption(
      setting(
        '--rate-limit <n>',
        'RATE_LIMIT',
        'tool calls a second for each caller; callers without a token count as one',
        10_000,
        integer(1, 1_000_000),
      ),
    )
    .addOption(
      setting(
        '--tool-timeout <ms>',
        'TOOL_TIMEOUT',
        'how long one tool call may run (fetch_with_limit: 60 s)',
        30_000,
        integer(1, 600_000),
      ),
    )
    .addOption(
      setting(
        '--breaker-threshold <n>',
        'BREAKER_THRESHOLD',
        'failures in a row that open the circuit to a dependency',
        5,
        integer(1, 10_000),
      ),
    )
    .addOption(
      setting(
        '--breaker-recovery <ms>',
        'BREAKER_RECOVERY',
        'how long an open circuit waits before it probes',
        5_000,
        integer(1, 3_600_000),
      ),
    )
    .addOption(
      setting('--cache-entries <n>', 'CACHE_ENTRIES', 'results kept in memory', 10_000, integer(1, 10_000_000)),
    )
    .addOption(
      setting(
        '--org-cache-ttl <ms>',
        'ORG_CACHE_TTL',
        'how long get_org_structure is cached',
        600_000,
        integer(1, 86_400_000),
      ),
    )
    .addOption(setting('--worker-threads <n>', 'WORKER_THREADS', 'threads for CPU work', 2, integer(1, 256)))
    .addOption(
      setting(
        '--max-body <bytes>',
        'MAX_BODY',
        'largest request body accepted',
        4_194_304,
        integer(1_024, 268_435_456),
      ),
    )
    .addOption(
      setting(
        '--shutdown-timeout <ms>',
        'SHUTDOWN_TIMEOUT',
        'how long running calls may take to end after SIGTERM',
        10_000,
        integer(0, 600_000),
      ),
    )
    .addOption(
      setting('--log-level <level>', 'LOG_LEVEL', 'least level that is logged, to stderr', 'info').choices(LOG_LEVELS),
    )
    .addHelpText(
      'after',
      '\nEach setting can also be given in the environment variable named beside it; a flag wins.\nData goes to the schema "mcp_demo" of the database.',
    )
    .allowExcessArguments(false)
    .showHelpAfterError('(run with --help for all settings)');
}

/**
 * Reads flags and environment (a flag wins).
 * Prints help or what is wrong and exits, with code 0 for `--help` and 1 for a wrong value; given `print`, throws instead of exiting.
 */
export function readConfig(argv: readonly string[], options: { print?: (text: string) => void } = {}): Config {
  const command = createCommand();
  if (options.print) command.exitOverride().configureOutput({ writeErr: options.print, writeOut: options.print });
  const config = command.parse(argv, { from: 'user' }).opts<Config>();

  // Not checked while parsing: commander repeats a refused value in its message, and these may have passwords in them.
  if (config.token !== undefined && !/^[\x21-\x7e]{16,4096}$/.test(config.token)) {
    command.error('error: --token (MCP_TOKEN) must be 16 to 4096 visible ASCII characters');
  }
  config.databaseUrl = checkUrl(command, 'DATABASE_URL', config.databaseUrl, ['postgres:', 'postgresql:']);
  config.redisUrl = checkUrl(command, 'REDIS_URL', config.redisUrl, ['redis:', 'rediss:']);
  config.upstreamUrl = checkUrl(command, 'UPSTREAM_URL', config.upstreamUrl, ['http:', 'https:']);
  if (config.upstreamUrl !== undefined && /[@?#]/.test(config.upstreamUrl)) {
    command.error('error: --upstream-url (UPSTREAM_URL) must have no user, password, query or fragment');
  }
  // As in a URL, and as `listen` wants it.
  config.host = config.host.toLowerCase().replace(/^\[(.*)\]$/, '$1');

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

function setting<T>(
  flags: string,
  variable: string,
  description: string,
  fallback?: T,
  parse?: (value: string) => T,
): Option {
  const option = new Option(flags, description).env(variable);
  // An empty variable counts as absent: that is what `DATABASE_URL= command` and compose files mean.
  if (process.env[variable] === '') delete process.env[variable];
  if (fallback !== undefined) option.default(fallback);
  return parse === undefined ? option : option.argParser(parse);
}

function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) throw new InvalidArgumentError(`Expected an integer from ${min} to ${max}.`);
    return number;
  };
}

function hosts(value: string): string[] {
  return list(value).map((part) => {
    if (!/^([a-z0-9.-]+|\[[0-9a-f:.]+\])$/i.test(part)) {
      throw new InvalidArgumentError(
        `Expected host names without scheme and port, such as mcp.example.com, got "${part}".`,
      );
    }
    return part.toLowerCase();
  });
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

function checkUrl(
  command: Command,
  variable: string,
  value: string | undefined,
  protocols: string[],
): string | undefined {
  if (value === undefined) return undefined;
  if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol)) {
    const flag = `--${variable.toLowerCase().replace('_', '-')}`;
    command.error(
      `error: ${flag} (${variable}) must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    );
  }
  return value;
}
