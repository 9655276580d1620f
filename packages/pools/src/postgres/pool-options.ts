import pg from 'pg';
import { checkFunction, longestTimerMs, numberOption, wrongType } from '../check-options.ts';
import { type Clock, systemClock } from '../clock.ts';

export interface PostgresPoolOptions {
  /** `postgres://user:password@host:port/database`. Default: what `connection` and the PG… environment variables say. */
  connectionString?: string | undefined;
  /** Options of `pg.Client`: TLS, a password as a function, types, … They win over `connectionString`. */
  connection?: pg.ClientConfig | undefined;
  /** In errors and metrics. Default `postgres`. */
  name?: string | undefined;
  /** Connections that `start()` opens and that are kept open. Default 10 (or `maxSize`, if that is less), from 0. */
  minSize?: number | undefined;
  /** Connections at most. Default 20 (or `minSize`, if that is more), from 1. */
  maxSize?: number | undefined;
  /** A connection is replaced after it has been lent so often. Default 50,000, from 1; Infinity for never. */
  maxUses?: number | undefined;
  /** A connection above `minSize` is closed after so long without work. Milliseconds, default 300,000. */
  maxIdleMs?: number | undefined;
  /**
   * A connection is replaced when it is so old, less a random tenth so that not all of them are at once; the new one is
   * opened before the old one is closed. Milliseconds, default Infinity: never.
   */
  maxLifetimeMs?: number | undefined;
  /** A connection that was idle for longer is tried before it is lent. Milliseconds, default 30,000; Infinity for never. */
  validateAfterIdleMs?: number | undefined;
  /** How long a caller waits for a connection. Milliseconds, default 10,000. */
  acquireTimeoutMs?: number | undefined;
  /** Callers that may wait; one more is refused with ERR_OVERLOADED. Default 10,000, from 0. */
  maxWaiting?: number | undefined;
  /** Time to make a connection, TLS and login included. Milliseconds, default 10,000. */
  connectTimeoutMs?: number | undefined;
  /** Time of one command; it is cancelled on the server too. Milliseconds, default 30,000; Infinity for none. */
  commandTimeoutMs?: number | undefined;
  /** How long the server has to confirm a cancel before the connection is dropped. Milliseconds, default 5,000. */
  cancelTimeoutMs?: number | undefined;
  /**
   * When the session state of a connection (settings, role, temporary tables, listeners, advisory locks) is reset before
   * it is lent again: after `withConnection`, after everything, or never. An open transaction is rolled back in any case.
   * Default `connection`.
   */
  reset?: 'connection' | 'always' | 'never' | undefined;
  /**
   * A connection that is out for longer is told of by `on('leak', …)`, with the place where it was taken, which is also the
   * `cause` of an exhausted pool. Each loan then costs a stack. Milliseconds, default Infinity: off; 60,000 is a good start.
   */
  leakDetectionMs?: number | undefined;
  /**
   * A statement of the shared lane that runs for longer keeps its connection for itself, and those sent behind it are sent
   * again on another. Milliseconds, default 25, from 2.
   */
  sharedStallMs?: number | undefined;
  /** How often the connection of `listen` is tried, so that a dead one is found out. Milliseconds, default 30,000; Infinity for never. */
  listenCheckMs?: number | undefined;
  /**
   * A second pool, for reads with `from: 'replica'`: its own connection string or `connection`, and any other option. While
   * it cannot be reached, such reads go to the primary. Default: none, and they go to the primary.
   */
  replica?: Omit<PostgresPoolOptions, 'replica'> | undefined;
  /** Time. Default: the process's own. */
  clock?: Clock | undefined;
  /** For jitter, 0 to 1. Default `Math.random`. */
  random?: (() => number) | undefined;
}

/** What a connection needs to know. */
export interface ConnectionSettings {
  readonly config: pg.ClientConfig;
  readonly connectTimeoutMs: number;
  readonly cancelTimeoutMs: number;
  readonly clock: Clock;
}

/** The options, checked, with the defaults in their places. */
export interface PoolSettings {
  readonly name: string;
  readonly minSize: number;
  readonly maxSize: number;
  readonly maxUses: number;
  readonly maxIdleMs: number;
  readonly maxLifetimeMs: number;
  readonly validateAfterIdleMs: number;
  readonly acquireTimeoutMs: number;
  readonly maxWaiting: number;
  readonly commandTimeoutMs: number;
  readonly reset: 'connection' | 'always' | 'never';
  readonly leakDetectionMs: number;
  readonly sharedStallMs: number;
  readonly listenCheckMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly connection: ConnectionSettings;
}

export function poolSettings(options: PostgresPoolOptions): PoolSettings {
  checkKinds(options);
  const number = (option: keyof PostgresPoolOptions, fallback: number, rule: Parameters<typeof numberOption>[4]) =>
    numberOption('PostgresPool', option, options[option] as number | undefined, fallback, rule);
  const count = { min: 1, integer: true };
  const maxSize = number('maxSize', Math.max(20, options.minSize ?? 0), count);
  const minSize = number('minSize', Math.min(10, maxSize), { min: 0, integer: true });
  if (minSize > maxSize) {
    throw new RangeError(`@x/pools: PostgresPool.minSize must not be above maxSize (${maxSize}), got ${minSize}`);
  }
  const reset = options.reset === undefined ? 'connection' : options.reset;
  if (!['connection', 'always', 'never'].includes(reset)) {
    throw new TypeError(
      `@x/pools: PostgresPool.reset must be 'connection', 'always' or 'never', got ${JSON.stringify(reset)}`,
    );
  }
  checkConnectionString(options.connectionString);
  const clock = options.clock ?? systemClock;
  return {
    name: options.name ?? 'postgres',
    minSize,
    maxSize,
    maxUses: number('maxUses', 50_000, { ...count, infinity: true }),
    maxIdleMs: number('maxIdleMs', 300_000, { min: 1, infinity: true }),
    maxLifetimeMs: number('maxLifetimeMs', Number.POSITIVE_INFINITY, { min: 1, infinity: true }),
    validateAfterIdleMs: number('validateAfterIdleMs', 30_000, { min: 0, infinity: true }),
    acquireTimeoutMs: number('acquireTimeoutMs', 10_000, { min: 1, infinity: true }),
    maxWaiting: number('maxWaiting', 10_000, { min: 0, integer: true, infinity: true }),
    commandTimeoutMs: number('commandTimeoutMs', 30_000, { min: 1, infinity: true }),
    reset,
    leakDetectionMs: number('leakDetectionMs', Number.POSITIVE_INFINITY, { min: 1, infinity: true }),
    listenCheckMs: number('listenCheckMs', 30_000, { min: 1, infinity: true }),
    sharedStallMs: number('sharedStallMs', 25, { min: 2, max: longestTimerMs }),
    clock,
    random: options.random ?? Math.random,
    connection: {
      config: clientConfig(options),
      connectTimeoutMs: number('connectTimeoutMs', 10_000, { min: 1, max: longestTimerMs }),
      cancelTimeoutMs: number('cancelTimeoutMs', 5_000, { min: 1, max: longestTimerMs }),
      clock,
    },
  };
}

function checkKinds(options: PostgresPoolOptions): void {
  if (typeof options !== 'object' || options === null) throw wrongType('PostgresPool.options', 'an object', options);
  const { connectionString, connection, name, replica, clock, random } = options;
  for (const [option, value] of Object.entries({ connectionString, name })) {
    if (value !== undefined && typeof value !== 'string') throw wrongType(`PostgresPool.${option}`, 'a string', value);
  }
  for (const [option, value] of Object.entries({ connection, replica, clock })) {
    if (value !== undefined && (typeof value !== 'object' || value === null)) {
      throw wrongType(`PostgresPool.${option}`, 'an object', value);
    }
  }
  for (const option of ['now', 'setTimeout', 'clearTimeout'] as const) {
    if (clock !== undefined) checkFunction(`PostgresPool.clock.${option}`, clock[option]);
  }
  if (random !== undefined) checkFunction('PostgresPool.random', random);
}

/** What pg is given. Of a string and fields together, pg takes the string's; here the fields win. */
function clientConfig({ connectionString, connection }: PostgresPoolOptions): pg.ClientConfig {
  if (connectionString === undefined) return { keepAlive: true, ...connection };
  if (connection === undefined) return { keepAlive: true, connectionString };
  const { user, host, port, database, password, ssl } = new pg.Client({ connectionString });
  const said = { user, host, port, database, ssl, ...(typeof password === 'string' ? { password } : {}) };
  const parameters = URL.canParse(connectionString) ? new URL(connectionString).searchParams : [];
  const further = [...parameters].filter(
    ([name]) => !(name in said) && (!name.startsWith('ssl') || name === 'sslnegotiation'),
  );
  return { keepAlive: true, ...Object.fromEntries(further), ...said, ...connection };
}

function checkConnectionString(connectionString: string | undefined): void {
  try {
    if (connectionString !== undefined) new pg.Client({ connectionString });
  } catch {
    // The error of the parser holds the string, and the string the password.
    throw new TypeError(
      '@x/pools: PostgresPool.connectionString must be like postgres://user:password@host:port/database, got something else',
    );
  }
}
