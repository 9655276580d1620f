import type pg from 'pg';
import { checkCallOptions, checkFunction, numberOption, wrongType } from '../check-options.ts';
import { checkInsert, type InsertManyOptions, type InsertRow, type TableName } from './insert-many.ts';
import type { Leak } from './leak-watch.ts';
import { Lending } from './lending.ts';
import { LentClient } from './lent-client.ts';
import { Listener, type ListenOptions, type NotificationListener, type Subscription } from './listener.ts';
import { type PoolSettings, type PostgresPoolOptions, poolSettings } from './pool-options.ts';
import { type PostgresPoolStats, poolStats } from './pool-stats.ts';
import { type Lender, PooledConnection } from './pooled-connection.ts';
import { QueryCounts } from './query-counts.ts';
import { QueryExecutor } from './query-executor.ts';
import { ReplicaReads } from './replica.ts';
import { streamRows } from './row-stream.ts';
import { type PoolQueryOptions, type Row, SqlRunner, type Statement, type StreamOptions } from './sql-runner.ts';
import { StatementNames } from './statement-names.ts';
import { retried, type TransactionOptions } from './transaction.ts';
import { untilAborted } from './until-aborted.ts';

/** PostgreSQL over connections that are warm, bounded, and survive what happens to them. */
export class PostgresPool extends SqlRunner<PoolQueryOptions> implements AsyncDisposable {
  readonly name: string;
  /** The pool of the `replica` option: for its `stats()`, and for reads that must not go to the primary. */
  readonly replica: PostgresPool | undefined;
  readonly #settings: PoolSettings;
  readonly #lending: Lending;
  readonly #lender: Lender;
  readonly #executor: QueryExecutor;
  readonly #listener: Listener;
  readonly #replicaReads: ReplicaReads;
  #starting: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: PostgresPoolOptions = {}) {
    super();
    this.#settings = poolSettings(options);
    this.name = this.#settings.name;
    this.#lending = new Lending(this.#settings);
    this.#lender = {
      commandTimeoutMs: this.#settings.commandTimeoutMs,
      clock: this.#settings.clock,
      random: this.#settings.random,
      names: new StatementNames(),
      counts: new QueryCounts(),
    };
    const { replica, clock, random } = options;
    if (replica !== undefined) {
      this.replica = new PostgresPool({ clock, random, name: `${this.name}-replica`, ...replica });
    }
    this.#replicaReads = new ReplicaReads(this, (pool) => pool.#isAway(), this.#settings.clock);
    this.#listener = new Listener(this.#lending, this.#settings);
    this.#executor = new QueryExecutor(this.#lending, this.#lender, this.#settings);
  }

  /**
   * Opens `minSize` connections (at least one) at once; rejects with what is wrong if that cannot be done. A replica is
   * waited for too, but one that cannot be reached is no reason to fail: the primary takes its reads meanwhile.
   */
  start(): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#lending.closedError());
    this.#starting ??= Promise.all([this.#lending.stock.start(), this.replica?.start().catch(() => {})]).then(
      () => {
        if (this.#closed !== undefined) throw this.#lending.closedError();
      },
      (error: unknown) => {
        this.#starting = undefined;
        throw error;
      },
    );
    return this.#starting;
  }

  override query<R extends Row = Row>(
    sql: Statement,
    params: readonly unknown[] = [],
    options: PoolQueryOptions = {},
  ): Promise<pg.QueryResult<R>> {
    if (options?.from === undefined) return this.#executor.run<R>(sql, params, options);
    return this.#replicaReads.run((pool, rest) => pool.query<R>(sql, params, rest), options);
  }

  /** Lends one connection to `fn`, for what needs a session: several statements, settings, advisory locks. */
  async withConnection<T>(
    fn: (connection: PooledConnection) => Promise<T>,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    checkFunction('PostgresPool.withConnection: fn', fn);
    checkCallOptions('PostgresPool.withConnection', options);
    return this.#lend(fn, options.signal, this.#settings.reset !== 'never');
  }

  /**
   * A connection for as long as its borrower likes, in the manner of `pg.Pool`: for Kysely, Drizzle and others that bring
   * their own calls. Who forgets `release()` has taken it from the pool for good. `signal` ends the wait for it.
   */
  async connect(options: { signal?: AbortSignal | undefined } = {}): Promise<LentClient> {
    // A callback, as pg.Pool takes one, would wait for ever and its connection be lost.
    checkCallOptions('PostgresPool.connect', options);
    const { signal } = options;
    signal?.throwIfAborted();
    const connection = this.#lending.takeIdle() ?? (await this.#lending.acquire(signal, undefined));
    const { reset } = this.#settings;
    return new LentClient(connection, this.#lender, (usedAsSession) =>
      this.#lending.release(connection, reset === 'always' || (reset === 'connection' && usedAsSession)),
    );
  }

  /** Runs `fn` in a transaction: committed when it resolves, rolled back when it throws. */
  async transaction<T>(fn: (tx: PooledConnection) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    checkFunction('PostgresPool.transaction: fn', fn);
    checkCallOptions('PostgresPool.transaction', options);
    const { from } = options;
    if (from !== undefined) {
      if (from === 'replica' && options.readOnly !== true) {
        throw new TypeError(
          "@x/pools: PostgresPool.transaction: from: 'replica' must come with readOnly: true, got none",
        );
      }
      return this.#replicaReads.run((pool, rest) => pool.transaction(fn, rest), options);
    }
    const once = { ...options, retries: undefined };
    const run = (): Promise<T> =>
      this.#lend((connection) => connection.transaction(fn, once), options.signal, this.#settings.reset === 'always');
    return retried(run, options, this.#settings);
  }

  /**
   * The rows of a query one by one, fetched in batches through a cursor, so that a result of any size needs little memory.
   * A connection is held until the loop over the rows ends, is left, or its signal aborts. The time-out of a command counts for each batch.
   */
  stream<R extends Row = Row>(
    sql: string,
    params: readonly unknown[] = [],
    options: StreamOptions = {},
  ): AsyncGenerator<R, void, undefined> {
    checkCallOptions('PostgresPool.stream', options);
    const { from, ...rest } = options;
    const pool = this.#replicaReads.choose(from);
    if (pool !== this) return pool.stream<R>(sql, params, rest);
    return streamRows<R>(this.#lending, this.#lender, this.#settings.reset === 'always', sql, params, options);
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
  async insertMany(
    table: TableName,
    columns: readonly string[],
    rows: readonly InsertRow[],
    options: InsertManyOptions = {},
  ): Promise<Row[] | number> {
    checkInsert(table, columns, rows, options);
    return this.transaction((tx) => tx.insertMany(table, columns, rows, options) as Promise<Row[] | number>, {
      signal: options.signal,
    });
  }

  /**
   * Tells `listener` of each NOTIFY on a channel. All channels of a pool share one connection, which is one of `maxSize`
   * while anybody listens. When it is lost, it is made again, and `onReconnect` says that notifications may have been missed.
   *
   * @throws PoolError when the server cannot be reached at first
   */
  async listen(channel: string, listener: NotificationListener, options: ListenOptions = {}): Promise<Subscription> {
    if (typeof channel !== 'string') throw wrongType('PostgresPool.listen: channel', 'a string', channel);
    checkFunction('PostgresPool.listen: listener', listener);
    checkCallOptions('PostgresPool.listen', options);
    if (this.#closed !== undefined) throw this.#lending.closedError();
    return this.#listener.listen(channel, listener, options);
  }

  /** Tells of connections that are out for longer than `leakDetectionMs`. Gives what takes the listener back. */
  on(event: 'leak', listener: (leak: Leak) => void): () => void {
    if (event !== 'leak') throw new TypeError(`@x/pools: PostgresPool.on: event must be 'leak', got ${String(event)}`);
    checkFunction('PostgresPool.on: listener', listener);
    return this.#lending.leaks.listen(listener);
  }

  stats(): PostgresPoolStats {
    return poolStats(this.#lending, this.#executor.lane, this.#lender.counts, this.#settings.maxSize);
  }

  /**
   * Refuses new work and those who wait, lets what runs end (at most `timeoutMs`, default 10,000), then cancels it, and
   * closes every connection.
   */
  async close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    checkCallOptions('PostgresPool.close', options);
    if (this.#closed === undefined) {
      const timeoutMs = numberOption('PostgresPool.close', 'timeoutMs', options.timeoutMs, 10_000, {
        min: 0,
        infinity: true,
      });
      const letGo = this.#listener.close();
      const closing = [this.#lending.close(timeoutMs), letGo, this.replica?.close({ timeoutMs })];
      this.#executor.lane.close(this.#lending.closedError());
      this.#closed = Promise.all(closing).then(() => {});
    }
    return this.#closed;
  }

  /** The same as `close()`, under the name it has in `pg.Pool`. */
  end(): Promise<void> {
    return this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** When it is away, it is tried again in the background. */
  #isAway(): boolean {
    const { stock } = this.#lending;
    if (stock.away) stock.probe();
    return stock.away;
  }

  async #lend<T>(
    fn: (connection: PooledConnection) => Promise<T>,
    signal: AbortSignal | undefined,
    reset: boolean,
  ): Promise<T> {
    signal?.throwIfAborted();
    const connection = this.#lending.takeIdle() ?? (await this.#lending.acquire(signal, undefined));
    const pooled = new PooledConnection(connection, this.#lender, signal);
    try {
      return await untilAborted(fn(pooled), signal);
    } finally {
      pooled.giveBack();
      this.#lending.release(connection, reset);
    }
  }
}
