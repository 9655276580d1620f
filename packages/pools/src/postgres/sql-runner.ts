import type pg from 'pg';

/** A row, as an object with a field for each column. */
export type Row = pg.QueryResultRow;

/** SQL as a text, or as an object of `pg` with `text`, `values`, `name`, `rowMode`, `types`. */
export type Statement = string | pg.QueryConfig | pg.QueryArrayConfig;

export interface QueryOptions {
  /** Stops the query, on the server too. */
  signal?: AbortSignal | undefined;
  /** Total time, waiting for a connection included. Milliseconds. Default: the pool's `commandTimeoutMs` once the query runs. */
  timeoutMs?: number | undefined;
  /**
   * Prepares the statement under this name, once on each connection. The same name must always mean the same text. One of more
   * than 63 bytes, which is what the server keeps of it, is shortened to its beginning and a hash.
   */
  name?: string | undefined;
}

export interface PoolQueryOptions extends QueryOptions {
  /**
   * The query may be run twice: when its connection is lost, it is run once more on another. Default false, since nobody
   * knows whether the server had done it.
   */
  idempotent?: boolean | undefined;
  /**
   * `shared`: a short read that may run twice goes over a connection it shares with others of its kind, without waiting for
   * the answers to theirs. It must leave nothing behind in its session. Default `exclusive`.
   */
  lane?: 'exclusive' | 'shared' | undefined;
  /** `replica`: a read for the pool of the `replica` option, or for the primary while that cannot be reached. Default `primary`. */
  from?: ReadFrom | undefined;
}

/** Which server is asked. */
export type ReadFrom = 'primary' | 'replica';

export interface StreamOptions {
  /** Rows fetched at a time. Default 500, from 1. */
  batchSize?: number | undefined;
  /** Stops the query, on the server too. */
  signal?: AbortSignal | undefined;
  /** `replica`: as of `query`. Rows that have begun to come are not begun again elsewhere. Default `primary`. */
  from?: ReadFrom | undefined;
}

/** The ways to run SQL, the same on a pool, a connection and a transaction. */
export abstract class SqlRunner<Options extends QueryOptions = QueryOptions> {
  abstract query<R extends Row = Row>(
    sql: Statement,
    params?: readonly unknown[],
    options?: Options,
  ): Promise<pg.QueryResult<R>>;

  /** All rows; of a text with several statements, those of the last. */
  async fetch<R extends Row = Row>(sql: Statement, params?: readonly unknown[], options?: Options): Promise<R[]> {
    return last(await this.query<R>(sql, params, options)).rows;
  }

  /** The first row, or undefined when there is none. */
  async fetchOne<R extends Row = Row>(
    sql: Statement,
    params?: readonly unknown[],
    options?: Options,
  ): Promise<R | undefined> {
    return last(await this.query<R>(sql, params, options)).rows[0];
  }

  /** How many rows were inserted, updated, deleted or found. */
  async execute(sql: Statement, params?: readonly unknown[], options?: Options): Promise<number> {
    return last(await this.query(sql, params, options)).rowCount ?? 0;
  }
}

/** Of several statements in one text pg gives several results, which its types do not say. */
function last<R extends Row>(result: pg.QueryResult<R> | pg.QueryResult<R>[]): pg.QueryResult<R> {
  return Array.isArray(result) ? (result.at(-1) as pg.QueryResult<R>) : result;
}
