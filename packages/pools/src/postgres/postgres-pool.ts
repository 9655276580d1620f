import type pg from 'pg';
import { numberOption } from '../check-options.ts';
import { isLoss } from './connect-error.ts';
import type { InsertManyOptions, InsertRow, TableName } from './insert-many.ts';
import type { Leak } from './leak-watch.ts';
import { Lending } from './lending.ts';
import { LentClient } from './lent-client.ts';
import { Listener, type ListenOptions, type NotificationListener, type Subscription } from './listener.ts';
import { type PoolSettings, type PostgresPoolOptions, poolSettings } from './pool-options.ts';
import { type Lender, PooledConnection } from './pooled-connection.ts';
import { checkedTimeout, queryConfig } from './query-config.ts';
import { ReplicaReads } from './replica.ts';
import { streamRows } from './row-stream.ts';
import { SharedLane } from './shared-lane.ts';
import { sharedRead } from './shared-read.ts';
import { type PoolQueryOptions, type Row, SqlRunner, type Statement, type StreamOptions } from './sql-runner.ts';
import { StatementNames } from './statement-names.ts';
import { backOff, mayRetry, type TransactionOptions } from './transaction.ts';
import { untilAborted } from './until-aborted.ts';

/** Counters only grow; gauges are now. */
export interface PostgresPoolStats {
  /** Open connections, idle and in use. */
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
  /** The time that queries took, waiting for a connection aside, added up. Milliseconds. */
  queryMs: number;
  /** The time that connections were in use, added up. Divided by `max` and by the time that has passed, it is the utilisation. */
  inUseMs: number;
  /** How much of the pool is in use now: `inUse` of `max`, 0 to 1. */
  utilisation: number;
  /** Statements of the shared lane that were sent again on another connection. */
  sharedMoves: number;
}

/** PostgreSQL over connections that are warm, bounded, and survive what happens to them. */
export class PostgresPool extends SqlRunner<PoolQueryOptions> implements AsyncDisposable {
  readonly name: string;
  /** The pool of the `replica` option: for its `stats()`, and for reads that must not go to the primary. */
  readonly replica: PostgresPool | undefined;
  readonly #settings: PoolSettings;
  readonly #lending: Lending;
  readonly #lender: Lender;
  readonly #lane: SharedLane;
  readonly #listener: Listener;
  readonly #replicaReads: ReplicaReads;
  #starting: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  #queries = 0;
  #queryFailures = 0;
  #queryMs = 0;

  constructor(options: PostgresPoolOptions = {}) {
    super();
    this.#settings = poolSettings(options);
    this.name = this.#settings.name;
    this.#lending = new Lending(this.#settings);
    this.#lender = {
      commandTimeoutMs: this.#settings.commandTimeoutMs,
      clock: this.#settings.clock,
      names: new StatementNames(),
      queryBegins: () => {
        this.#queries++;
      },
      queryEnded: (tookMs) => {
        this.#queryMs += tookMs;
      },
      queryFailed: (error, signal) => {
        if (signal?.aborted !== true || error !== signal.reason) this.#queryFailures++;
      },
    };
    const { replica, clock, random } = options;
    if (replica !== undefined) {
      this.replica = new PostgresPool({ clock, random, name: `${this.name}-replica`, ...replica });
    }
    this.#replicaReads = new ReplicaReads(this, (pool) => pool.#isAway(), this.#settings.clock);
    this.#listener = new Listener(this.#lending, this.#settings);
    this.#lane = new SharedLane(this.#lending, this.#settings, (command, signal, timeoutMs) =>
      this.#runOnce(command, signal, this.#deadline(timeoutMs)),
    );
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

  override async query<R extends Row = Row>(
    sql: Statement,
    params: readonly unknown[] = [],
    options: PoolQueryOptions = {},
  ): Promise<pg.QueryResult<R>> {
    const { signal, timeoutMs, lane, from } = options;
    signal?.throwIfAborted();
    if (from !== undefined) return this.#replicaReads.run((pool, rest) => pool.query<R>(sql, params, rest), options);
    const command = queryConfig(sql, params, options);
    const sent = this.#lender.names.resolve(command);
    const deadline = this.#deadline(checkedTimeout(timeoutMs));
    try {
      if (lane === 'shared') return await this.#runShared<R>(sent, signal, timeoutMs);
      if (lane !== undefined && lane !== 'exclusive') throw unknownLane(lane);
      return await this.#runOnce<R>(sent, signal, deadline);
    } catch (error) {
      const again = this.#lender.names.giveUp(command, sent, error) || (options.idempotent === true && isLoss(error));
      if (!again) throw error;
      return await this.#runOnce<R>(this.#lender.names.resolve(command), signal, deadline);
    }
  }

  /** Lends one connection to `fn`, for what needs a session: several statements, settings, advisory locks. */
  async withConnection<T>(
    fn: (connection: PooledConnection) => Promise<T>,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    return this.#lend(fn, options.signal, this.#settings.reset !== 'never');
  }

  /**
   * A connection for as long as its borrower likes, in the manner of `pg.Pool`: for Kysely, Drizzle and others that bring
   * their own calls. Who forgets `release()` has taken it from the pool for good. `signal` ends the wait for it.
   */
  async connect(options: { signal?: AbortSignal | undefined } = {}): Promise<LentClient> {
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
    const { from } = options;
    if (from !== undefined) {
      if (from === 'replica' && options.readOnly !== true) {
        throw new TypeError(
          "@x/pools: PostgresPool.transaction: from: 'replica' must come with readOnly: true, got none",
        );
      }
      return this.#replicaReads.run((pool, rest) => pool.transaction(fn, rest), options);
    }
    const retries = numberOption('PostgresPool.transaction', 'retries', options.retries, 0, { min: 0, integer: true });
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#lend(
          (connection) => connection.transaction(fn, options),
          options.signal,
          this.#settings.reset === 'always',
        );
      } catch (error) {
        if (attempt >= retries || !mayRetry(error)) throw error;
        await untilAborted(backOff(attempt, this.#settings.clock, this.#settings.random), options.signal);
      }
    }
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

  /**
   * Tells `listener` of each NOTIFY on a channel. All channels of a pool share one connection, which is one of `maxSize`
   * while anybody listens. When it is lost, it is made again, and `onReconnect` says that notifications may have been missed.
   *
   * @throws PoolError when the server cannot be reached at first
   */
  listen(channel: string, listener: NotificationListener, options: ListenOptions = {}): Promise<Subscription> {
    if (this.#closed !== undefined) return Promise.reject(this.#lending.closedError());
    return this.#listener.listen(channel, listener, options);
  }

  /** Tells of connections that are out for longer than `leakDetectionMs`. Gives what takes the listener back. */
  on(event: 'leak', listener: (leak: Leak) => void): () => void {
    if (event !== 'leak') throw new TypeError(`@x/pools: PostgresPool.on: event must be 'leak', got ${String(event)}`);
    return this.#lending.leaks.listen(listener);
  }

  stats(): PostgresPoolStats {
    const { stock, line, acquired, loanMs } = this.#lending;
    const inUse = stock.size - stock.idle.length;
    return {
      size: stock.size,
      idle: stock.idle.length,
      inUse,
      waiting: line.length - this.#lane.places + this.#lane.waiting,
      max: this.#settings.maxSize,
      created: stock.created,
      destroyed: stock.destroyed,
      acquired,
      acquireTimeouts: line.timeouts + this.#lane.acquireTimeouts,
      acquireWaitMs: line.waitedMs + this.#lane.waitedMs,
      queries: this.#queries,
      queryFailures: this.#queryFailures,
      queryMs: this.#queryMs + this.#lane.ranMs,
      inUseMs: loanMs,
      utilisation: inUse / this.#settings.maxSize,
      sharedMoves: this.#lane.moves,
    };
  }

  /**
   * Refuses new work and those who wait, lets what runs end (at most `timeoutMs`, default 10,000), then cancels it, and
   * closes every connection.
   */
  close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    if (this.#closed === undefined) {
      const timeoutMs = numberOption('PostgresPool.close', 'timeoutMs', options.timeoutMs, 10_000, {
        min: 0,
        infinity: true,
      });
      const letGo = this.#listener.close();
      const closing = [this.#lending.close(timeoutMs), letGo, this.replica?.close({ timeoutMs })];
      this.#lane.close(this.#lending.closedError());
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

  async #runOnce<R extends Row>(
    command: pg.QueryConfig,
    signal: AbortSignal | undefined,
    deadline: number | undefined,
  ): Promise<pg.QueryResult<R>> {
    const connection = this.#lending.takeIdle() ?? (await this.#lending.acquire(signal, this.#left(deadline)));
    this.#queries++;
    try {
      return await connection.run<R>(command, this.#left(deadline) ?? this.#lender.commandTimeoutMs, signal);
    } catch (error) {
      throw this.#told(error, signal);
    } finally {
      this.#queryMs += this.#settings.clock.now() - connection.takenAt;
      this.#lending.release(connection, this.#settings.reset === 'always');
    }
  }

  async #runShared<R extends Row>(
    command: pg.QueryConfig,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ): Promise<pg.QueryResult<R>> {
    const read = sharedRead(command);
    this.#queries++;
    try {
      return (await this.#lane.run(read, signal, timeoutMs)) as pg.QueryResult<R>;
    } catch (error) {
      throw this.#told(error, signal);
    }
  }

  /** Counts an error, and lets its stack end where the caller is: that of an error from a socket ends in the event loop. */
  #told(error: unknown, signal: AbortSignal | undefined): unknown {
    this.#lender.queryFailed(error, signal);
    if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error, this.query);
    return error;
  }

  /** When it is away, it is tried again in the background. */
  #isAway(): boolean {
    const { stock } = this.#lending;
    if (stock.away) stock.probe();
    return stock.away;
  }

  #deadline(timeoutMs: number | undefined): number | undefined {
    return timeoutMs === undefined ? undefined : this.#settings.clock.now() + timeoutMs;
  }

  #left(deadline: number | undefined): number | undefined {
    return deadline === undefined ? undefined : Math.max(1, deadline - this.#settings.clock.now());
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

function unknownLane(lane: unknown): TypeError {
  return new TypeError(
    `@x/pools: PostgresPool.query: lane must be 'exclusive' or 'shared', got ${JSON.stringify(lane)}`,
  );
}
