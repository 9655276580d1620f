import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export type Policy = 'unbounded FIFO' | 'FIFO of 1,000' | 'bulkhead' | 'ours';
/** The limiter around the work, or in front of the handler. */
export type Shape = 'around the work' | 'withAdmission';

export interface Seen {
  offered: number;
  good: number;
  refused: number;
  late: number;
  failed: number;
  goodP99Ms: number;
  refusedP50Ms: number;
  refusedP99Ms: number;
  /** By how much the load was behind its own plan. */
  lagP99Ms: number;
  lagMaxMs: number;
}

export interface Cell {
  url: string;
  policy: Policy;
  shape: Shape;
  /** What a call is: a query over a pool of four connections, or 2 ms of the server's own processor. */
  work: 'query' | 'processor';
  perSecond: number;
  warmUpMs: number;
  countedMs: number;
  /** Connections of callers: kept for the next call, or a new one for each. */
  connections: 'kept' | 'new';
}

/** One server and one load, each in a process of its own. */
export async function trial(cell: Cell): Promise<Seen> {
  const { url, policy, shape, work, ...load } = cell;
  const server = start('trial-server.mjs', { url, policy, shape, work });
  try {
    const [port] = (await once(server, 'message')) as [number];
    const [seen] = (await once(start('trial-load.mjs', { port, ...load }), 'message')) as [Seen];
    return seen;
  } finally {
    server.disconnect();
    await once(server, 'exit');
  }
}

/** Good answers a second. */
export function goodput({ good }: Seen, { countedMs }: Pick<Cell, 'countedMs'>): number {
  return good / (countedMs / 1_000);
}

function start(file: string, given: object): ChildProcess {
  return fork(join(import.meta.dirname, '../fixtures', file), [JSON.stringify(given)], { execArgv: [] });
}
