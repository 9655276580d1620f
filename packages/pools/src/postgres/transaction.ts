import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { endsConnection, sqlStateOf } from './connect-error.ts';
import type { PgConnection } from './pg-connection.ts';
import type { ReadFrom } from './sql-runner.ts';

export interface TransactionOptions {
  /** Default: the database's, which is `read committed` unless it was changed. */
  isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined;
  /** Forbids writing. Default false. */
  readOnly?: boolean | undefined;
  /** `replica`: as of `query`, for a transaction that is `readOnly`. Default `primary`. */
  from?: ReadFrom | undefined;
  /**
   * How often the whole function is run again after a serialization failure or a deadlock. It must not do anything
   * outside the database that may not be done twice. Default 0.
   */
  retries?: number | undefined;
  /** Stops the running statement, rolls back and tells the caller its reason. */
  signal?: AbortSignal | undefined;
}

/** The statement that begins it. */
export function beginStatement(options: TransactionOptions): string {
  const { isolation, readOnly } = options;
  if (isolation !== undefined && !isolations.has(isolation)) {
    throw new TypeError(
      `@x/pools: transaction: isolation must be one of ${[...isolations].join(', ')}, got ${JSON.stringify(isolation)}`,
    );
  }
  return `BEGIN${isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation}`}${readOnly ? ' READ ONLY' : ''}`;
}

const isolations = new Set<string>(['read committed', 'repeatable read', 'serializable']);

/** COMMIT, and an error unless the server says that it has committed. */
export async function commit(connection: PgConnection, timeoutMs: number): Promise<void> {
  // What broke before COMMIT was sent has been rolled back; only after that is there a doubt.
  await connection.settle();
  connection.checkAlive();
  if (!connection.inTransaction) {
    throw new PoolError('ERR_TRANSACTION_ABORTED', 'The transaction was ended by a statement of its own', {
      sqlState: '25P01',
    });
  }
  let outcome: string;
  try {
    outcome = (await connection.run({ text: 'COMMIT' }, timeoutMs, undefined)).command;
  } catch (error) {
    if (!endsConnection(error) && sqlStateOf(error) !== undefined) throw error;
    throw new PoolError(
      'ERR_COMMIT_UNKNOWN',
      'The connection broke during COMMIT: it is not known whether it was done',
      {
        cause: error,
        sqlState: '08007',
      },
    );
  }
  // After a statement that failed, and whose error was swallowed, PostgreSQL answers COMMIT with a ROLLBACK and no error.
  if (outcome !== 'COMMIT') {
    throw new PoolError(
      'ERR_TRANSACTION_ABORTED',
      'The transaction was rolled back, because one of its statements had failed',
      {
        sqlState: '25P02',
      },
    );
  }
}

/** Whether the same transaction may succeed when it is run again: serialization_failure, deadlock_detected. */
export function mayRetry(error: unknown): boolean {
  const sqlState = sqlStateOf(error);
  return sqlState === '40001' || sqlState === '40P01';
}

/** Exponential with full jitter, from 10 ms up to 1 s. */
export function backOff(attempt: number, clock: Clock, random: () => number): Promise<void> {
  const ms = random() * Math.min(1_000, 10 * 2 ** attempt);
  return new Promise((resolve) => {
    clock.setTimeout(resolve, ms);
  });
}
