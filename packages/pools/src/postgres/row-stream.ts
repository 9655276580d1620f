import { onAbort } from '../abort-listener.ts';
import { numberOption, wrongType } from '../check-options.ts';
import type { Lending } from './lending.ts';
import { type Lender, PooledConnection } from './pooled-connection.ts';
import type { Row, StreamOptions } from './sql-runner.ts';
import { endTransaction } from './transaction.ts';

/** The rows of a query, through a cursor in a transaction of its own. `reset`: the session is reset after it. */
export async function* streamRows<R extends Row>(
  lending: Lending,
  lender: Lender,
  reset: boolean,
  sql: string,
  params: readonly unknown[],
  options: StreamOptions,
): AsyncGenerator<R, void, undefined> {
  const { signal } = options;
  const batchSize = numberOption('PostgresPool.stream', 'batchSize', options.batchSize, 500, { min: 1, integer: true });
  if (typeof sql !== 'string') throw wrongType('PostgresPool.stream: sql', 'a text', sql);
  signal?.throwIfAborted();
  const connection = lending.takeIdle() ?? (await lending.acquire(signal, undefined));
  const pooled = new PooledConnection(connection, lender, signal);
  let held = true;
  const leave = (): void => {
    if (!held) return;
    held = false;
    pooled.giveBack();
    lending.release(connection, reset);
  };
  // Whoever reads the rows may never ask for the next one: an abort does not wait for that.
  const removeAbort = signal === undefined ? undefined : onAbort(signal, leave);
  try {
    // A cursor lives in a transaction; a loop that is left early leaves it open, and its rollback to the release.
    await pooled.query('BEGIN');
    // In the extended protocol it is one statement: nothing else runs behind a semicolon.
    const declare = { text: `DECLARE x_pools_stream NO SCROLL CURSOR FOR ${sql}`, queryMode: 'extended' };
    await pooled.query(declare, params);
    for (let rows: R[] = [], more = true; more; more = rows.length === batchSize) {
      rows = await pooled.fetch<R>(`FETCH ${batchSize} FROM x_pools_stream`);
      for (const row of rows) {
        signal?.throwIfAborted();
        yield row;
      }
    }
    signal?.throwIfAborted();
    // An abort during the commit must not give the connection away while the commit is on its way.
    removeAbort?.();
    await endTransaction(connection, { release: undefined }, lender.commandTimeoutMs);
  } finally {
    removeAbort?.();
    leave();
  }
}
