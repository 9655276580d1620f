import type { Lending } from './lending.ts';
import type { QueryCounts } from './query-counts.ts';
import type { SharedLane } from './shared-lane.ts';

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

export function poolStats(lending: Lending, lane: SharedLane, counts: QueryCounts, max: number): PostgresPoolStats {
  const { stock, line, acquired, loanMs } = lending;
  const inUse = stock.size - stock.idle.length;
  return {
    size: stock.size,
    idle: stock.idle.length,
    inUse,
    waiting: line.length - lane.places + lane.waiting,
    max,
    created: stock.created,
    destroyed: stock.destroyed,
    acquired,
    acquireTimeouts: line.timeouts + lane.acquireTimeouts,
    acquireWaitMs: line.waitedMs + lane.waitedMs,
    queries: counts.queries,
    queryFailures: counts.failures,
    queryMs: counts.ms + lane.ranMs,
    inUseMs: loanMs,
    utilisation: inUse / max,
    sharedMoves: lane.moves,
  };
}
