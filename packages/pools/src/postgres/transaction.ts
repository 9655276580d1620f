import { numberOption } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { endsConnection, sqlStateOf } from './connect-error.ts';
import type { PgConnection } from './pg-connection.ts';
import type { ReadFrom } from './sql-runner.ts';
import { untilAborted } from './until-aborted.ts';

export interface TransactionOptions {
  /** Default: the database's, which is `read committed` unless it was changed. Not of a transaction within another. */
  isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined;
  /** Forbids writing. Default false. Not of a transaction within another. */
  readOnly?: boolean | undefined;
  /** `replica`: as of `query`, for a transaction that is `readOnly`. Default `primary`. */
  from?: ReadFrom | undefined;
  /**
   * How often the whole function is run again after a serialization failure or a deadlock. It must not do anything
   * outside the database that may not be done twice. Default 0. Of no use to a transaction within another, which fails with it.
   */
  retries?: number | undefined;
  /** Stops the running statement, rolls back and tells the caller its reason. */
  signal?: AbortSignal | undefined;
}

/** The statements around a transaction. */
export interface TransactionBounds {
  readonly begin: string;
  /** Ends a savepoint; undefined for a transaction, which is committed. */
  readonly release: string | undefined;
  readonly rollBack: string;
}

/** `depth`: 1 for a transaction, more for a savepoint in one. */
export function transactionBounds(depth: number, options: TransactionOptions): TransactionBounds {
  const { isolation, readOnly } = options;
  if (isolation !== undefined && !isolations.has(isolation)) {
    throw new TypeError(
      `@x/pools: transaction: isolation must be one of ${[...isolations].join(', ')}, got ${JSON.stringify(isolation)}`,
    );
  }
  if (depth === 1) {
    const level = isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation}`;
    return { begin: `BEGIN${level}${readOnly ? ' READ ONLY' : ''}`, release: undefined, rollBack: 'ROLLBACK' };
  }
  if (isolation !== undefined || readOnly) {
    throw new TypeError(
      '@x/pools: transaction: isolation and readOnly must be said of the outermost transaction, got them for one within it',
    );
  }
  const savepoint = `x_pools_${depth}`;
  return {
    begin: `SAVEPOINT ${savepoint}`,
    release: `RELEASE SAVEPOINT ${savepoint}`,
    rollBack: `ROLLBACK TO SAVEPOINT ${savepoint}`,
  };
}

const isolations = new Set<string>(['read committed', 'repeatable read', 'serializable']);

/** COMMIT, or the end of a savepoint, and an error unless it is known to be done. */
export async function endTransaction(
  connection: PgConnection,
  { release }: Pick<TransactionBounds, 'release'>,
  timeoutMs: number,
): Promise<void> {
  // What broke before COMMIT was sent has been rolled back; only after that is there a doubt.
  await connection.settle();
  connection.checkAlive();
  if (!connection.inTransaction) throw aborted('The transaction was ended by a statement of its own', '25P01');
  if (release === undefined) await commit(connection, timeoutMs);
  else if (connection.inFailedTransaction) throw aborted(failedBefore, '25P02');
  else await connection.run({ text: release }, timeoutMs, undefined);
}

async function commit(connection: PgConnection, timeoutMs: number): Promise<void> {
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
  if (outcome !== 'COMMIT') throw aborted(failedBefore, '25P02');
}

function aborted(why: string, sqlState: string): PoolError {
  return new PoolError('ERR_TRANSACTION_ABORTED', why, { sqlState });
}

const failedBefore = 'The transaction was rolled back, because one of its statements had failed';

/** Runs it again after a serialization failure or a deadlock, as often as `retries` says. */
export async function retried<T>(
  run: () => Promise<T>,
  options: TransactionOptions,
  { clock, random }: { clock: Clock; random: () => number },
): Promise<T> {
  const retries = numberOption('PostgresPool.transaction', 'retries', options.retries, 0, { min: 0, integer: true });
  for (let attempt = 0; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      if (attempt >= retries || !mayRetry(error)) throw error;
      await untilAborted(backOff(attempt, clock, random), options.signal);
    }
  }
}

/** Whether the same transaction may succeed when it is run again: serialization_failure, deadlock_detected. */
function mayRetry(error: unknown): boolean {
  const sqlState = sqlStateOf(error);
  return sqlState === '40001' || sqlState === '40P01';
}

/** Exponential with full jitter, from 10 ms up to 1 s. */
function backOff(attempt: number, clock: Clock, random: () => number): Promise<void> {
  const ms = random() * Math.min(1_000, 10 * 2 ** attempt);
  return new Promise((resolve) => {
    clock.setTimeout(resolve, ms);
  });
}
