import type pg from 'pg';
import { eitherSignal } from '../abort-listener.ts';
import { checkCallOptions, checkFunction } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { type InsertManyOptions, type InsertRow, insertMany, type TableName } from './insert-many.ts';
import type { PgConnection } from './pg-connection.ts';
import { checkedTimeout, queryConfig } from './query-config.ts';
import type { QueryCounts } from './query-counts.ts';
import { type QueryOptions, type Row, SqlRunner, type Statement } from './sql-runner.ts';
import type { StatementNames } from './statement-names.ts';
import { endTransaction, retried, type TransactionOptions, transactionBounds } from './transaction.ts';
import { untilAborted } from './until-aborted.ts';

/** What a borrower needs of its pool. */
export interface Lender {
  readonly commandTimeoutMs: number;
  readonly names: StatementNames;
  readonly clock: Clock;
  readonly random: () => number;
  readonly counts: QueryCounts;
}

/** A connection, or a transaction on it, for as long as the function it was lent to runs. What outlives that function is refused. */
export class PooledConnection extends SqlRunner {
  readonly #connection: PgConnection;
  readonly #lender: Lender;
  readonly #signal: AbortSignal | undefined;
  /** How deep in transactions: 0 is none, from 2 on they are savepoints. */
  readonly #depth: number;
  /** What it is a transaction on. */
  readonly #outer: PooledConnection | undefined;
  #returned = false;
  #inner = false;

  constructor(
    connection: PgConnection,
    lender: Lender,
    signal: AbortSignal | undefined,
    outer: PooledConnection | undefined = undefined,
  ) {
    super();
    this.#connection = connection;
    this.#lender = lender;
    this.#signal = signal;
    this.#outer = outer;
    this.#depth = outer === undefined ? 0 : outer.#depth + 1;
  }

  override async query<R extends Row = Row>(
    sql: Statement,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<pg.QueryResult<R>> {
    const command = queryConfig(sql, params, options);
    const timeoutMs = checkedTimeout(options.timeoutMs);
    const either = eitherOf(options.signal, this.#signal);
    const { signal } = either;
    try {
      signal?.throwIfAborted();
      this.checkUsable();
      return await this.#run<R>(command, timeoutMs, signal);
    } finally {
      either.unlink?.();
    }
  }

  async #run<R extends Row>(
    command: pg.QueryConfig,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<pg.QueryResult<R>> {
    const { names, clock, counts, commandTimeoutMs } = this.#lender;
    counts.queries++;
    const since = clock.now();
    const sent = names.resolve(command);
    try {
      return await this.#connection.run<R>(sent, timeoutMs ?? commandTimeoutMs, signal);
    } catch (error) {
      // In a transaction the refusal has ended it; outside of one nothing has happened yet.
      if (names.giveUp(command, sent, error) && !this.#connection.inTransaction) {
        return await this.#connection.run<R>(names.resolve(command), timeoutMs ?? commandTimeoutMs, signal);
      }
      counts.failed(error, signal);
      if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error, this.query);
      throw error;
    } finally {
      counts.ms += clock.now() - since;
    }
  }

  /** Runs `fn` in a transaction, within one as a savepoint: committed when it resolves, rolled back when it throws. */
  async transaction<T>(fn: (tx: PooledConnection) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    checkFunction('transaction: fn', fn);
    checkCallOptions('transaction', options);
    if (this.#depth > 0) return this.#transaction(fn, options);
    return retried(() => this.#transaction(fn, options), options, this.#lender);
  }

  async #transaction<T>(fn: (tx: PooledConnection) => Promise<T>, options: TransactionOptions): Promise<T> {
    this.checkUsable();
    const either = eitherOf(options.signal, this.#signal);
    const tx = new PooledConnection(this.#connection, this.#lender, either.signal, this);
    const bounds = transactionBounds(tx.#depth, options);
    this.#inner = true;
    try {
      either.signal?.throwIfAborted();
      await this.#run({ text: bounds.begin }, undefined, either.signal);
      const result = await untilAborted(fn(tx), either.signal);
      tx.#returned = true;
      this.#checkHeld();
      await endTransaction(this.#connection, bounds, this.#lender.commandTimeoutMs);
      return result;
    } catch (error) {
      tx.#returned = true;
      // Whatever goes wrong here, the connection is not given back with an open transaction; the first error is the one to know.
      if (!this.#isOver() && (this.#connection.inTransaction || !this.#connection.quiet)) {
        const { commandTimeoutMs } = this.#lender;
        await this.#connection.run({ text: bounds.rollBack }, commandTimeoutMs, undefined).catch(() => {});
      }
      throw error;
    } finally {
      this.#inner = false;
      either.unlink?.();
    }
  }

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
    if (this.#depth > 0) return insertMany(this, table, columns, rows, options);
    return this.transaction((tx) => insertMany(tx, table, columns, rows, options), { signal: options.signal });
  }

  /** The function it was lent to is over. */
  giveBack(): void {
    this.#returned = true;
  }

  /** Whether the connection was given back, and may be somebody else's: by this one, or by one around it that did not wait. */
  #isOver(): boolean {
    if (this.#returned || this.#outer === undefined) return this.#returned;
    return this.#outer.#isOver();
  }

  #checkHeld(): void {
    if (!this.#isOver()) return;
    throw new PoolError(
      'ERR_RELEASED',
      'This connection was given back to its pool: the function it was lent to has ended',
    );
  }

  protected checkUsable(): void {
    this.#checkHeld();
    if (this.#inner) {
      throw new PoolError('ERR_RELEASED', 'A transaction runs on this connection: use the one its function was given');
    }
  }
}

/** What is to end a statement or a nested transaction: its own signal, that of the transaction around it, or both. */
function eitherOf(
  own: AbortSignal | undefined,
  outer: AbortSignal | undefined,
): { signal: AbortSignal | undefined; unlink?(): void } {
  return own === undefined || outer === undefined || own === outer
    ? { signal: own ?? outer }
    : eitherSignal(own, outer);
}
