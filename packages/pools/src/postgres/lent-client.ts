import type pg from 'pg';
import type { PgConnection } from './pg-connection.ts';
import { type Lender, PooledConnection } from './pooled-connection.ts';
import type { QueryOptions, Row, Statement } from './sql-runner.ts';

/** A connection that is its borrower's until `release()`, in the manner of `pg.PoolClient`. */
export class LentClient extends PooledConnection implements Disposable {
  readonly #connection: PgConnection;
  readonly #takeBack: (usedAsSession: boolean) => void;
  /** Statements that began outside a transaction. */
  #outside = 0;
  #hasCursor = false;
  #released = false;

  constructor(connection: PgConnection, lender: Lender, takeBack: (usedAsSession: boolean) => void) {
    super(connection, lender, undefined);
    this.#connection = connection;
    this.#takeBack = takeBack;
  }

  /** A cursor of `pg-cursor`, or another thing that pg's client is handed as it is. It has no time-out. */
  override query<T extends pg.Submittable>(cursor: T): T;
  override query<R extends Row = Row>(
    statement: Statement,
    params?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<pg.QueryResult<R>>;
  override query<R extends Row>(
    statement: Statement | pg.Submittable,
    params?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<pg.QueryResult<R>> | pg.Submittable {
    if (!this.#connection.inTransaction) this.#outside++;
    if (!isSubmittable(statement)) return super.query<R>(statement, params, options);
    this.checkUsable();
    this.#hasCursor = true;
    return this.#connection.submit(statement);
  }

  /**
   * Gives the connection back; with `true` or an error it is closed instead. A second call does nothing: this client
   * stands for one loan, so it cannot give back what has meanwhile been lent to somebody else.
   */
  release(destroy?: boolean | Error): void {
    if (this.#released) return;
    this.#released = true;
    this.giveBack();
    // Nobody is left to read on, and until the cursor is closed the connection answers nobody else.
    const cursorIsOpen = this.#hasCursor && !this.#connection.quiet;
    if (cursorIsOpen || destroy === true || destroy instanceof Error) this.#connection.destroy();
    // One statement, or one transaction, is what `query` and `transaction` do; more is a session, as in `withConnection`.
    this.#takeBack(this.#outside > 1);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function isSubmittable(statement: Statement | pg.Submittable): statement is pg.Submittable {
  return typeof statement === 'object' && statement !== null && 'submit' in statement;
}
