import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs, numberOption } from '../check-options.ts';
import { type Clock, systemClock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { endsConnection } from './connect-error.ts';
import type { InsertManyOptions, InsertRow, TableName } from './insert-many.ts';
import { type ConnectionSettings, PgConnection } from './pg-connection.ts';
import { type Lender, PooledConnection, queryConfig } from './pooled-connection.ts';
import { type PoolQueryOptions, type QueryOptions, type Row, SqlRunner, type StreamOptions } from './sql-runner.ts';
import { backOff, commit, mayRetry, type TransactionOptions } from './transaction.ts';
import { untilAborted } from './until-aborted.ts';

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
  /** Time. Default: the process's own. */
  clock?: Clock | undefined;
  /** For jitter, 0 to 1. Default `Math.random`. */
  random?: (() => number) | undefined;
}

export interface PostgresPoolStats {
  size: number;
  idle: number;
  inUse: number;
  waiting: number;
  max: number;
  created: number;
  destroyed: { [reason: string]: number };
  acquired: number;
  acquireTimeouts: number;
  acquireWaitMs: number;
  queries: number;
  queryFailures: number;
}

interface Waiter {
  readonly since: number;
  readonly take: (connection: PgConnection) => void;
  readonly refuse: (error: unknown) => void;
}

/** PostgreSQL over connections that are warm, bounded, and survive what happens to them. */
export class PostgresPool extends SqlRunner implements AsyncDisposable {
  readonly name: string;
  readonly #settings: ConnectionSettings;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #minSize: number;
  readonly #maxSize: number;
  readonly #maxUses: number;
  readonly #maxIdleMs: number;
  readonly #maxLifetimeMs: number;
  readonly #validateAfterIdleMs: number;
  readonly #acquireTimeoutMs: number;
  readonly #maxWaiting: number;
  readonly #reset: 'connection' | 'always' | 'never';
  readonly #lender: Lender;
  readonly #all = new Set<PgConnection>();
  /** The last one given back is lent first; the first ones may go cold and be closed. */
  readonly #idle: PgConnection[] = [];
  readonly #waiting = new Set<Waiter>();
  // A socket outlives the call that opened it: it belongs to the pool's context, not to that caller's.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  readonly #destroyed: Record<string, number> = {};
  #connecting = 0;
  #starting: Promise<void> | undefined;
  #keepsMinimum = false;
  /** The error of the last attempt to connect, until one succeeds: meanwhile only one attempt is made at a time. */
  #down: unknown;
  #failedAttempts = 0;
  #refillTimer: unknown;
  #sweepTimer: unknown;
  #closed: Promise<void> | undefined;
  #onDrained: (() => void) | undefined;
  #created = 0;
  #acquired = 0;
  #acquireTimeouts = 0;
  #acquireWaitMs = 0;
  #queries = 0;
  #queryFailures = 0;

  constructor(options: PostgresPoolOptions = {}) {
    super();
    const number = (option: keyof PostgresPoolOptions, fallback: number, rule: Parameters<typeof numberOption>[4]) =>
      numberOption('PostgresPool', option, options[option] as number | undefined, fallback, rule);
    this.name = options.name ?? 'postgres';
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    const count = { min: 1, integer: true };
    this.#maxSize = number('maxSize', Math.max(20, options.minSize ?? 0), count);
    this.#minSize = number('minSize', Math.min(10, this.#maxSize), { min: 0, integer: true });
    if (this.#minSize > this.#maxSize) {
      throw new RangeError(
        `@x/pools: PostgresPool.minSize must not be above maxSize (${this.#maxSize}), got ${this.#minSize}`,
      );
    }
    this.#maxUses = number('maxUses', 50_000, { ...count, infinity: true });
    this.#maxIdleMs = number('maxIdleMs', 300_000, { min: 1, infinity: true });
    this.#maxLifetimeMs = number('maxLifetimeMs', Number.POSITIVE_INFINITY, { min: 1, infinity: true });
    this.#validateAfterIdleMs = number('validateAfterIdleMs', 30_000, { min: 0, infinity: true });
    this.#acquireTimeoutMs = number('acquireTimeoutMs', 10_000, { min: 1, infinity: true });
    this.#maxWaiting = number('maxWaiting', 10_000, { min: 0, integer: true, infinity: true });
    const commandTimeoutMs = number('commandTimeoutMs', 30_000, { min: 1, infinity: true });
    this.#reset = options.reset ?? 'connection';
    if (!['connection', 'always', 'never'].includes(this.#reset)) {
      throw new TypeError(
        `@x/pools: PostgresPool.reset must be 'connection', 'always' or 'never', got ${JSON.stringify(this.#reset)}`,
      );
    }
    checkConnectionString(options.connectionString);
    this.#settings = {
      config: {
        keepAlive: true,
        ...(options.connectionString === undefined ? {} : { connectionString: options.connectionString }),
        ...options.connection,
      },
      connectTimeoutMs: number('connectTimeoutMs', 10_000, { min: 1 }),
      cancelTimeoutMs: number('cancelTimeoutMs', 5_000, { min: 1 }),
      clock: this.#clock,
    };
    this.#lender = {
      commandTimeoutMs,
      queryBegins: () => {
        this.#queries++;
      },
      queryFailed: (error, signal) => {
        if (signal?.aborted !== true || error !== signal.reason) this.#queryFailures++;
      },
    };
  }

  /** Opens `minSize` connections (at least one) at once; rejects with what is wrong if that cannot be done. */
  start(): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closedError());
    this.#starting ??= this.#start().catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    });
    return this.#starting;
  }

  override async query<R extends Row = Row>(
    sql: string,
    params: readonly unknown[] = [],
    options: PoolQueryOptions = {},
  ): Promise<pg.QueryResult<R>> {
    const { signal, timeoutMs } = options;
    signal?.throwIfAborted();
    const deadline = timeoutMs === undefined ? undefined : this.#clock.now() + checkedTimeout(timeoutMs);
    try {
      return await this.#queryOnce<R>(sql, params, options, deadline);
    } catch (error) {
      if (options.idempotent !== true || !isLoss(error)) throw error;
      return this.#queryOnce<R>(sql, params, options, deadline);
    }
  }

  /** Lends one connection to `fn`, for what needs a session: several statements, settings, advisory locks. */
  async withConnection<T>(
    fn: (connection: PooledConnection) => Promise<T>,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    return this.#lend(fn, options.signal, this.#reset !== 'never');
  }

  /** Runs `fn` in a transaction: committed when it resolves, rolled back when it throws. */
  async transaction<T>(fn: (tx: PooledConnection) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const retries = numberOption('PostgresPool.transaction', 'retries', options.retries, 0, { min: 0, integer: true });
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#lend(
          (connection) => connection.transaction(fn, options),
          options.signal,
          this.#reset === 'always',
        );
      } catch (error) {
        if (attempt >= retries || !mayRetry(error)) throw error;
        await untilAborted(backOff(attempt, this.#clock, this.#random), options.signal);
      }
    }
  }

  /**
   * The rows of a query one by one, fetched in batches through a cursor, so that a result of any size needs little memory.
   * A connection is held until the loop over the rows ends, is left, or its signal aborts. The time-out of a command counts for each batch.
   */
  async *stream<R extends Row = Row>(
    sql: string,
    params: readonly unknown[] = [],
    options: StreamOptions = {},
  ): AsyncGenerator<R, void, undefined> {
    const { signal } = options;
    const batchSize = numberOption('PostgresPool.stream', 'batchSize', options.batchSize, 500, {
      min: 1,
      integer: true,
    });
    signal?.throwIfAborted();
    const connection = this.#takeIdle() ?? (await this.#acquire(signal, undefined));
    const pooled = new PooledConnection(connection, this.#lender, signal);
    let held = true;
    const leave = (): void => {
      if (!held) return;
      held = false;
      pooled.giveBack();
      this.#release(connection, this.#reset === 'always');
    };
    // Whoever reads the rows may never ask for the next one: an abort does not wait for that.
    const removeAbort = signal === undefined ? undefined : onAbort(signal, leave);
    try {
      // A cursor lives in a transaction; a loop that is left early leaves it open, and its rollback to the release.
      await pooled.query('BEGIN');
      await pooled.query(`DECLARE x_pools_stream NO SCROLL CURSOR FOR ${sql}`, params);
      for (let rows: R[] = [], more = true; more; more = rows.length === batchSize) {
        rows = await pooled.fetch<R>(`FETCH ${batchSize} FROM x_pools_stream`);
        for (const row of rows) {
          signal?.throwIfAborted();
          yield row;
        }
      }
      await commit(connection, this.#lender.commandTimeoutMs);
    } finally {
      removeAbort?.();
      leave();
    }
  }

  /**
   * Inserts many rows in one transaction and few statements. Gives the number of rows, or with `returning` the new rows,
   * in the order of those that came in.
   */
  insertMany(
    table: TableName,
    columns: readonly string[],
    rows: readonly InsertRow[],
    options?: InsertManyOptions & { returning?: undefined },
  ): Promise<number>;
  insertMany<R extends Row = Row>(
    table: TableName,
    columns: readonly string[],
    rows: readonly InsertRow[],
    options: InsertManyOptions,
  ): Promise<R[]>;
  insertMany(
    table: TableName,
    columns: readonly string[],
    rows: readonly InsertRow[],
    options: InsertManyOptions = {},
  ): Promise<Row[] | number> {
    return this.transaction((tx) => tx.insertMany(table, columns, rows, options) as Promise<Row[] | number>, {
      signal: options.signal,
    });
  }

  stats(): PostgresPoolStats {
    return {
      size: this.#all.size,
      idle: this.#idle.length,
      inUse: this.#all.size - this.#idle.length,
      waiting: this.#waiting.size,
      max: this.#maxSize,
      created: this.#created,
      destroyed: { ...this.#destroyed },
      acquired: this.#acquired,
      acquireTimeouts: this.#acquireTimeouts,
      acquireWaitMs: this.#acquireWaitMs,
      queries: this.#queries,
      queryFailures: this.#queryFailures,
    };
  }

  /**
   * Refuses new work and those who wait, lets what runs end (at most `timeoutMs`, default 10,000), then cancels it, and
   * closes every connection.
   */
  close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(
      numberOption('PostgresPool.close', 'timeoutMs', options.timeoutMs, 10_000, { min: 0 }),
    );
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #start(): Promise<void> {
    const wanted = Math.max(1, this.#minSize) - this.#all.size - this.#connecting;
    const attempts = Array.from({ length: Math.max(0, wanted) }, () => this.#connect());
    try {
      const opened = await Promise.all(attempts);
      for (const connection of opened) this.#admit(connection);
      this.#keepsMinimum = true;
      this.#refill();
    } catch (error) {
      for (const attempt of attempts) {
        attempt.then(
          (connection) => connection.end(),
          () => {},
        );
      }
      throw error;
    }
  }

  async #queryOnce<R extends Row>(
    sql: string,
    params: readonly unknown[],
    options: QueryOptions,
    deadline: number | undefined,
  ): Promise<pg.QueryResult<R>> {
    const { signal } = options;
    const connection = this.#takeIdle() ?? (await this.#acquire(signal, this.#left(deadline)));
    this.#queries++;
    try {
      return await connection.run<R>(
        queryConfig(sql, params, options),
        this.#left(deadline) ?? this.#lender.commandTimeoutMs,
        signal,
      );
    } catch (error) {
      this.#lender.queryFailed(error, signal);
      // The stack of an error from a socket ends in the event loop; the caller wants to see the caller.
      if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error, this.query);
      throw error;
    } finally {
      this.#release(connection, this.#reset === 'always');
    }
  }

  #left(deadline: number | undefined): number | undefined {
    return deadline === undefined ? undefined : Math.max(1, deadline - this.#clock.now());
  }

  async #lend<T>(
    fn: (connection: PooledConnection) => Promise<T>,
    signal: AbortSignal | undefined,
    reset: boolean,
  ): Promise<T> {
    signal?.throwIfAborted();
    const connection = this.#takeIdle() ?? (await this.#acquire(signal, undefined));
    const pooled = new PooledConnection(connection, this.#lender, signal);
    try {
      return await untilAborted(fn(pooled), signal);
    } finally {
      pooled.giveBack();
      this.#release(connection, reset);
    }
  }

  /** A warm connection, if there is one and nobody waits for it. */
  #takeIdle(): PgConnection | undefined {
    if (this.#closed !== undefined || this.#waiting.size > 0) return undefined;
    const connection = this.#idle.at(-1);
    if (connection === undefined) return undefined;
    const now = this.#clock.now();
    if (now - connection.lastUsedAt > this.#validateAfterIdleMs) return undefined;
    this.#idle.pop();
    connection.takenAt = now;
    this.#acquired++;
    return connection;
  }

  async #acquire(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<PgConnection> {
    const connection = await this.#wait(signal, timeoutMs);
    this.#acquired++;
    return connection;
  }

  #wait(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<PgConnection> {
    if (this.#closed !== undefined) return Promise.reject(this.#closedError());
    if (this.#waiting.size >= this.#maxWaiting + this.#idle.length + this.#maxSize - this.#all.size) {
      return Promise.reject(this.#exhausted('ERR_OVERLOADED', `${this.#waiting.size} callers wait already`));
    }
    return new Promise((resolve, reject) => {
      const since = this.#clock.now();
      const settle = (): void => {
        this.#waiting.delete(waiter);
        this.#clock.clearTimeout(timer);
        removeAbort?.();
        this.#acquireWaitMs += this.#clock.now() - since;
      };
      const waiter: Waiter = {
        since,
        take: (connection) => {
          settle();
          connection.takenAt = this.#clock.now();
          resolve(connection);
        },
        refuse: (error) => {
          settle();
          reject(error);
        },
      };
      const own = timeoutMs !== undefined && timeoutMs < this.#acquireTimeoutMs;
      const ms = own ? timeoutMs : this.#acquireTimeoutMs;
      const timer =
        ms > longestTimerMs
          ? undefined
          : this.#clock.setTimeout(() => {
              this.#acquireTimeouts++;
              waiter.refuse(
                own
                  ? new PoolError('ERR_TIMEOUT', `The query did not get a connection within ${ms} ms`, {
                      cause: this.#down,
                    })
                  : this.#exhausted('ERR_POOL_EXHAUSTED', `no connection was free within ${ms} ms`),
              );
            }, ms);
      const removeAbort = signal === undefined ? undefined : onAbort(signal, () => waiter.refuse(signal.reason));
      this.#waiting.add(waiter);
      this.#serve();
    });
  }

  /** Gives idle connections to those who wait, first come first served, and opens more if they are too few. */
  #serve(): void {
    while (this.#waiting.size > 0) {
      const connection = this.#idle.pop();
      if (connection === undefined) break;
      if (this.#clock.now() - connection.lastUsedAt > this.#validateAfterIdleMs) {
        void this.#validate(connection);
        continue;
      }
      this.#hand(connection);
    }
    this.#open(this.#waiting.size - this.#connecting);
  }

  #hand(connection: PgConnection): void {
    for (const waiter of this.#waiting) {
      waiter.take(connection);
      return;
    }
    this.#idle.push(connection);
    this.#sweepLater();
  }

  /** A connection may have been cut off without a word; a borrower should not be the one to find out. */
  async #validate(connection: PgConnection): Promise<void> {
    try {
      await connection.run({ text: '' }, validationTimeoutMs, undefined);
    } catch {
      connection.destroy();
    }
    this.#release(connection, false);
  }

  #open(wanted: number): void {
    const room = this.#maxSize - this.#all.size - this.#connecting;
    // A server that is away is asked by one at a time, whoever waits.
    const limit = this.#down === undefined ? room : Math.min(room, 1 - this.#connecting);
    for (let i = Math.min(wanted, limit); i > 0 && this.#closed === undefined; i--) {
      this.#connect().then(
        (connection) => {
          if (this.#closed !== undefined) void connection.end();
          else this.#admit(connection);
        },
        () => {},
      );
    }
  }

  async #connect(): Promise<PgConnection> {
    this.#connecting++;
    try {
      const connection = await this.#inOwnContext(() => PgConnection.open(this.#settings));
      this.#connecting--;
      this.#down = undefined;
      this.#failedAttempts = 0;
      return connection;
    } catch (error) {
      this.#connecting--;
      this.#down = error;
      this.#failedAttempts++;
      if (this.#all.size === 0 && this.#connecting === 0) {
        for (const waiter of [...this.#waiting]) waiter.refuse(error);
      }
      this.#refillLater();
      throw error;
    }
  }

  #admit(connection: PgConnection): void {
    this.#created++;
    this.#all.add(connection);
    connection.onBroken = () => this.#lost(connection);
    connection.lastUsedAt = this.#clock.now();
    connection.expiresAt = connection.lastUsedAt + this.#maxLifetimeMs * (1 - this.#random() / 10);
    if (connection.broken !== undefined) {
      this.#remove(connection, 'broken');
      return;
    }
    this.#hand(connection);
    this.#serve();
  }

  /** An idle connection broke; one that is lent out is seen to when it comes back. */
  #lost(connection: PgConnection): void {
    this.#removeIdle(connection, 'broken');
  }

  #release(connection: PgConnection, reset: boolean): void {
    connection.uses++;
    if (connection.quiet && !reset && !connection.inTransaction) this.#giveBack(connection);
    else void this.#clean(connection, reset).then(() => this.#giveBack(connection));
  }

  /** Nothing of one borrower is left for the next. What cannot be cleaned is dropped. */
  async #clean(connection: PgConnection, reset: boolean): Promise<void> {
    try {
      await connection.settle();
      if (connection.inTransaction) await connection.run({ text: 'ROLLBACK' }, cleaningTimeoutMs, undefined);
      if (reset) await connection.run({ text: resetSession }, cleaningTimeoutMs, undefined);
      if (connection.inTransaction) connection.destroy();
    } catch {
      connection.destroy();
    }
  }

  #giveBack(connection: PgConnection): void {
    connection.lastUsedAt = this.#clock.now();
    const end = this.#endOf(connection);
    if (end === undefined) this.#hand(connection);
    else this.#remove(connection, end);
  }

  /** Why a connection that comes back is not lent again, if it is not. */
  #endOf(connection: PgConnection): string | undefined {
    if (connection.broken !== undefined) return 'broken';
    if (this.#closed !== undefined) return 'closed';
    if (connection.uses >= this.#maxUses) return 'maxUses';
    // While somebody waits, an old connection is better than none; the sweep sees to it when it rests.
    return connection.expiresAt === 0 ? 'lifetime' : undefined;
  }

  #remove(connection: PgConnection, reason: string): void {
    if (!this.#all.delete(connection)) return;
    this.#destroyed[reason] = (this.#destroyed[reason] ?? 0) + 1;
    void connection.end();
    if (this.#all.size === 0) this.#onDrained?.();
    if (this.#closed !== undefined) return;
    this.#open(this.#waiting.size - this.#connecting);
    if (reason === 'maxUses' || reason === 'lifetime') this.#refill();
    else this.#refillLater();
  }

  #refill(): void {
    if (this.#closed !== undefined) return;
    const missing = this.#keepsMinimum ? this.#minSize - this.#all.size - this.#connecting : 0;
    this.#open(Math.max(missing, this.#waiting.size - this.#connecting));
    if (this.#down !== undefined) this.#refillLater();
  }

  /** Soon, then at intervals that double up to half a second; never all pools at the same moment. */
  #refillLater(): void {
    const short = this.#keepsMinimum && this.#all.size + this.#connecting < this.#minSize;
    if (this.#refillTimer !== undefined || this.#closed !== undefined || (!short && this.#waiting.size === 0)) return;
    const ms = (0.5 + this.#random() / 2) * Math.min(500, 25 * 2 ** Math.min(this.#failedAttempts, 10));
    this.#refillTimer = this.#clock.setTimeout(() => {
      this.#refillTimer = undefined;
      this.#refill();
    }, ms);
    unref(this.#refillTimer);
  }

  #sweepLater(): void {
    if (this.#sweepTimer !== undefined || this.#closed !== undefined) return;
    const mayShrink = this.#all.size > this.#minSize;
    if (!mayShrink && this.#maxLifetimeMs === Number.POSITIVE_INFINITY) return;
    let due = Number.POSITIVE_INFINITY;
    for (const { lastUsedAt, expiresAt } of this.#idle) {
      due = Math.min(due, expiresAt, mayShrink ? lastUsedAt + this.#maxIdleMs : due);
    }
    const ms = due - this.#clock.now();
    if (ms > longestTimerMs) return;
    this.#sweepTimer = this.#clock.setTimeout(
      () => {
        this.#sweepTimer = undefined;
        this.#sweep();
      },
      Math.max(1, ms),
    );
    unref(this.#sweepTimer);
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const connection of [...this.#idle]) {
      const needed = this.#all.size <= this.#minSize;
      if (connection.expiresAt <= now) this.#retire(connection, needed);
      else if (!needed && connection.lastUsedAt <= now - this.#maxIdleMs) this.#removeIdle(connection, 'idle');
    }
    this.#sweepLater();
  }

  /** Puts a new connection in the place of one that is too old, and only then closes that. */
  #retire(connection: PgConnection, needed: boolean): void {
    if (!needed || this.#all.size >= this.#maxSize) {
      this.#removeIdle(connection, 'lifetime');
      return;
    }
    if (this.#all.size + this.#connecting >= this.#maxSize) {
      // Another one is being replaced: one after the other.
      connection.expiresAt = this.#clock.now() + retireAgainMs;
      return;
    }
    // It works still: when the server cannot be reached, it is tried again later.
    connection.expiresAt = this.#clock.now() + this.#settings.connectTimeoutMs;
    this.#connect().then(
      (replacement) => {
        if (this.#closed !== undefined) {
          void replacement.end();
          return;
        }
        this.#admit(replacement);
        this.#removeIdle(connection, 'lifetime');
        // Lent out meanwhile: it goes when it comes back.
        connection.expiresAt = 0;
      },
      () => {},
    );
  }

  #removeIdle(connection: PgConnection, reason: string): void {
    const index = this.#idle.indexOf(connection);
    if (index < 0) return;
    this.#idle.splice(index, 1);
    this.#remove(connection, reason);
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#clock.clearTimeout(this.#refillTimer);
    this.#clock.clearTimeout(this.#sweepTimer);
    for (const waiter of [...this.#waiting]) waiter.refuse(this.#closedError());
    const idle = this.#idle.splice(0);
    const ended = idle.map((connection) => connection.end());
    for (const connection of idle) this.#remove(connection, 'closed');
    if (this.#all.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimeout(resolve, timeoutMs);
        this.#onDrained = () => {
          this.#clock.clearTimeout(timer);
          resolve();
        };
      });
    }
    const refusal = this.#closedError();
    await Promise.all([...ended, ...[...this.#all].map((connection) => connection.stopAndEnd(refusal))]);
    for (const connection of [...this.#all]) this.#remove(connection, 'closed');
  }

  #exhausted(code: 'ERR_POOL_EXHAUSTED' | 'ERR_OVERLOADED', why: string): PoolError {
    const now = this.#clock.now();
    let oldest = 0;
    for (const connection of this.#all) {
      if (!this.#idle.includes(connection)) oldest = Math.max(oldest, now - connection.takenAt);
    }
    const inUse = this.#all.size - this.#idle.length;
    const state = `${inUse} of ${this.#maxSize} connections are in use, the oldest for ${Math.round(oldest)} ms`;
    return new PoolError(code, `PostgresPool ${this.name}: ${why}; ${state}`, {
      retryAfterMs: 1_000,
      cause: this.#down,
    });
  }

  #closedError(): PoolError {
    return new PoolError('ERR_POOL_CLOSED', `PostgresPool ${this.name} is closed`);
  }
}

/** How long ROLLBACK and the like may take before the connection is given up. */
const cleaningTimeoutMs = 5_000;
const validationTimeoutMs = 1_000;
const retireAgainMs = 50;

/** DISCARD ALL, but prepared statements stay: the client remembers which ones it has made. */
const resetSession =
  'CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES';

function checkedTimeout(timeoutMs: number): number {
  return numberOption('PostgresPool.query', 'timeoutMs', timeoutMs, timeoutMs, { min: 0, infinity: true });
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

/** The connection went away, whatever had become of the query. */
function isLoss(error: unknown): boolean {
  return endsConnection(error) || (error as { code?: unknown } | undefined)?.code === 'ERR_CONNECTION_LOST';
}

function unref(timer: unknown): void {
  (timer as { unref?: () => void } | undefined)?.unref?.();
}
