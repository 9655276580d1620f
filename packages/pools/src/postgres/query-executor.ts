import type pg from 'pg';
import { isLoss } from './connect-error.ts';
import type { Lending } from './lending.ts';
import type { PoolSettings } from './pool-options.ts';
import type { Lender } from './pooled-connection.ts';
import { checkedTimeout, queryConfig } from './query-config.ts';
import { SharedLane } from './shared-lane.ts';
import { sharedRead } from './shared-read.ts';
import type { PoolQueryOptions, Row, Statement } from './sql-runner.ts';

/** Runs single statements, each over a connection of its own or over the shared lane, and once more where that is safe. */
export class QueryExecutor {
  readonly lane: SharedLane;
  readonly #lending: Lending;
  readonly #lender: Lender;
  readonly #settings: PoolSettings;

  constructor(lending: Lending, lender: Lender, settings: PoolSettings) {
    this.#lending = lending;
    this.#lender = lender;
    this.#settings = settings;
    this.lane = new SharedLane(lending, settings, (command, signal, timeoutMs) =>
      this.#runExclusive(command, signal, this.#deadline(timeoutMs)),
    );
  }

  async run<R extends Row>(
    sql: Statement,
    params: readonly unknown[],
    options: PoolQueryOptions,
  ): Promise<pg.QueryResult<R>> {
    const { names } = this.#lender;
    const command = queryConfig(sql, params, options);
    const { signal, timeoutMs, lane } = options;
    signal?.throwIfAborted();
    const sent = names.resolve(command);
    const deadline = this.#deadline(checkedTimeout(timeoutMs));
    try {
      if (lane === 'shared') return await this.#runShared<R>(sent, signal, timeoutMs);
      if (lane !== undefined && lane !== 'exclusive') throw unknownLane(lane);
      return await this.#runExclusive<R>(sent, signal, deadline);
    } catch (error) {
      const again = names.giveUp(command, sent, error) || (options.idempotent === true && isLoss(error));
      if (!again) throw error;
      return await this.#runExclusive<R>(names.resolve(command), signal, deadline);
    }
  }

  async #runExclusive<R extends Row>(
    command: pg.QueryConfig,
    signal: AbortSignal | undefined,
    deadline: number | undefined,
  ): Promise<pg.QueryResult<R>> {
    const { counts, clock, commandTimeoutMs } = this.#lender;
    const connection = this.#lending.takeIdle() ?? (await this.#lending.acquire(signal, this.#left(deadline)));
    counts.queries++;
    try {
      return await connection.run<R>(command, this.#left(deadline) ?? commandTimeoutMs, signal);
    } catch (error) {
      throw this.#told(error, signal);
    } finally {
      counts.ms += clock.now() - connection.record.takenAt;
      this.#lending.release(connection, this.#settings.reset === 'always');
    }
  }

  async #runShared<R extends Row>(
    command: pg.QueryConfig,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ): Promise<pg.QueryResult<R>> {
    const read = sharedRead(command);
    this.#lender.counts.queries++;
    try {
      return (await this.lane.run(read, signal, timeoutMs)) as pg.QueryResult<R>;
    } catch (error) {
      throw this.#told(error, signal);
    }
  }

  /** Counts an error, and lets its stack end where the caller is: that of an error from a socket ends in the event loop. */
  #told(error: unknown, signal: AbortSignal | undefined): unknown {
    this.#lender.counts.failed(error, signal);
    if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error, this.run);
    return error;
  }

  #deadline(timeoutMs: number | undefined): number | undefined {
    return timeoutMs === undefined ? undefined : this.#lender.clock.now() + timeoutMs;
  }

  #left(deadline: number | undefined): number | undefined {
    return deadline === undefined ? undefined : Math.max(1, deadline - this.#lender.clock.now());
  }
}

function unknownLane(lane: unknown): TypeError {
  return new TypeError(
    `@x/pools: PostgresPool.query: lane must be 'exclusive' or 'shared', got ${JSON.stringify(lane)}`,
  );
}
