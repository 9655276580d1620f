import type pg from 'pg';
import { eitherSignal } from '../abort-listener.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { type InsertManyOptions, type InsertRow, insertMany, type TableName } from './insert-many.ts';
import type { PgConnection } from './pg-connection.ts';
import { checkedTimeout, queryConfig } from './query-config.ts';
import { type QueryOptions, type Row, SqlRunner, type Statement } from './sql-runner.ts';
import type { StatementNames } from './statement-names.ts';
import { beginStatement, commit, type TransactionOptions } from './transaction.ts';
import { untilAborted } from './until-aborted.ts';

/** What a borrower needs of its pool. */
export interface Lender {
  readonly commandTimeoutMs: number;
  readonly names: StatementNames;
  readonly clock: Clock;
  queryBegins(): void;
  queryEnded(tookMs: number): void;
  queryFailed(error: unknown, signal: AbortSignal | undefined): void;
}

/** A connection, or a transaction on it, for as long as the function it was lent to runs. */
export class PooledConnection extends SqlRunner {
  readonly #connection: PgConnection;
  readonly #lender: Lender;
  readonly #signal: AbortSignal | undefined;
  /** How deep in transactions: 0 is none, from 2 on they are savepoints. */
  readonly #depth: number;
  #returned = false;
  #inner = false;

  constructor(connection: PgConnection, lender: Lender, signal: AbortSignal | undefined, depth = 0) {
    super();
    this.#connection = connection;
    this.#lender = lender;
    this.#signal = signal;
    this.#depth = depth;
  }

  override async query<R extends Row = Row>(
    sql: Statement,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<pg.QueryResult<R>> {
    const either = eitherOf(options.signal, this.#signal);
    const { signal } = either;
    try {
      signal?.throwIfAborted();
      this.checkUsable();
      return await this.#run<R>(queryConfig(sql, params, options), checkedTimeout(options.timeoutMs), signal);
    } finally {
      either.unlink?.();
    }
  }

  async #run<R extends Row>(
    command: pg.QueryConfig,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<pg.QueryResult<R>> {
    const { names, clock, commandTimeoutMs } = this.#lender;
    this.#lender.queryBegins();
    const since = clock.now();
    const sent = names.resolve(command);
    try {
      return await this.#connection.run<R>(sent, timeoutMs ?? commandTimeoutMs, signal);
    } catch (error) {
      // In a transaction the refusal has ended it; outside of one nothing has happened yet.
      if (names.giveUp(command, sent, error) && !this.#connection.inTransaction) {
        return await this.#connection.run<R>(names.resolve(command), timeoutMs ?? commandTimeoutMs, signal);
      }
      this.#lender.queryFailed(error, signal);
      if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error, this.query);
      throw error;
    } finally {
      this.#lender.queryEnded(clock.now() - since);
    }
  }

  /** Runs `fn` in a transaction, within one as a savepoint: committed when it resolves, rolled back when it throws. */
  async transaction<T>(fn: (tx: PooledConnection) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    this.checkUsable();
    const depth = this.#depth + 1;
    const savepoint = `x_pools_${depth}`;
    const either = eitherOf(options.signal, this.#signal);
    const tx = new PooledConnection(this.#connection, this.#lender, either.signal, depth);
    try {
      await this.query(depth === 1 ? beginStatement(options) : `SAVEPOINT ${savepoint}`);
    } catch (error) {
      either.unlink?.();
      throw error;
    }
    this.#inner = true;
    try {
      const result = await untilAborted(fn(tx), tx.#signal);
      tx.#returned = true;
      if (depth === 1) await commit(this.#connection, this.#lender.commandTimeoutMs);
      else await this.#control(`RELEASE SAVEPOINT ${savepoint}`);
      return result;
    } catch (error) {
      tx.#returned = true;
      // Whatever goes wrong here, the connection is not given back with an open transaction; the first error is the one to know.
      if (this.#connection.inTransaction || !this.#connection.quiet) {
        await this.#control(depth === 1 ? 'ROLLBACK' : `ROLLBACK TO SAVEPOINT ${savepoint}`).catch(() => {});
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

  async #control(sql: string): Promise<void> {
    await this.#connection.run({ text: sql }, this.#lender.commandTimeoutMs, undefined);
  }

  protected checkUsable(): void {
    if (this.#returned) {
      throw new PoolError(
        'ERR_RELEASED',
        'This connection was given back to its pool: the function it was lent to has ended',
      );
    }
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
