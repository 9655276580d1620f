import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export type Policy = 'unbounded FIFO' | 'FIFO of 1,000' | 'bulkhead' | 'ours';
/** The limiter around the query, or in front of the handler. */
export type Shape = 'around the query' | 'withAdmission';

export interface Seen {
  offered: number;
  good: number;
  refused: number;
  late: number;
  failed: number;
  goodP99Ms: number;
  refusedP50Ms: number;
  refusedP99Ms: number;
  /** By how much the generator was behind its own plan at most. */
  lagMs: number;
}

export interface Cell {
  url: string;
  policy: Policy;
  shape: Shape;
  perSecond: number;
  warmUpMs: number;
  countedMs: number;
  /** Connections of callers: kept for the next call, or a new one for each. */
  connections: 'kept' | 'new';
}

/** One server and one load, each in a process of its own. */
export async function trial(cell: Cell): Promise<Seen> {
  const server = start('trial-server.mjs', [cell.url, cell.policy, cell.shape]);
  try {
    const [port] = (await once(server, 'message')) as [number];
    const { perSecond, warmUpMs, countedMs, connections } = cell;
    const load = start('trial-load.mjs', [port, perSecond, warmUpMs, countedMs, connections].map(String));
    const [seen] = (await once(load, 'message')) as [Seen];
    return seen;
  } finally {
    server.disconnect();
    await once(server, 'exit');
  }
}

function start(file: string, args: readonly string[]): ChildProcess {
  return fork(join(import.meta.dirname, '../fixtures', file), args, { execArgv: [] });
}
