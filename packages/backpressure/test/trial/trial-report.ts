import { cpus } from 'node:os';
import { type Cell, goodput, type Seen } from './trial.ts';

export interface Row {
  cell: Cell;
  /** Times the capacity. */
  load: number;
  seen: Seen;
}

export interface Round {
  once: Row;
  fiveTimes: Row;
  bulkheadFiveTimes: Row;
}

export interface Results {
  capacity: { query: number; processor: number };
  rounds: readonly Round[];
  sections: readonly { title: string; rows: readonly Row[] }[];
}

export function trialReport({ capacity, rounds, sections }: Results, countedMs: number, warmUpMs: number): string {
  return `# Trial of @x/backpressure

A real HTTP server over a real PostgreSQL: each call is one query that sleeps for 20 ms in the mean (exponential), over a pool of four connections; or, in the last rows of
each table, 2 ms of the server's own processor and no query. The load comes from another process, open loop: Poisson arrivals that do not wait for answers. A
caller hangs up after 200 ms, and its time counts from when the call was due; a call that finds no connection free opens one. Where it may, the load takes a higher
priority from the system, since it stands for other machines. How late it was against its own plan is the last column: where that is a good part of 200 ms, nothing can be said of the server.

\`pnpm --filter @x/backpressure soak\`: ${countedMs / 1_000} s a row after ${warmUpMs / 1_000} s of warm-up, ${cpus().length} processors, Node ${process.versions.node}. 1x is the capacity: what a bulkhead of 4 + 4 turns into answers
when far more queries are offered, ${capacity.query.toFixed(0)} a second; with processor work what a lone server answers in time at such a load, ${capacity.processor.toFixed(0)} a second. The FIFOs and the bulkhead are told that there
are four connections. Ours is \`new KneeLimit()\` with all defaults and is told the deadline; in front of the handler also \`new LoadShedder()\`. All servers
listen with a backlog of 32.

## Five times the load against once, ${rounds.length} times over

In front of the handler, on a machine that was left alone as far as this test can see to it; three times as long as the rows below.

| ours 1x, in time a second | ours 5x | 5x / 1x | bulkhead 5x | load late, p99 and most, ms |
|---|---|---|---|---|
${rounds.map(roundRow).join('\n')}
${sections.map(section).join('\n')}`;
}

function roundRow({ once, fiveTimes, bulkheadFiveTimes }: Round): string {
  const per = (row: Row): string => goodput(row.seen, row.cell).toFixed(0);
  const ratio = goodput(fiveTimes.seen, fiveTimes.cell) / goodput(once.seen, once.cell);
  return `| ${[per(once), per(fiveTimes), ratio.toFixed(2), per(bulkheadFiveTimes), lags(fiveTimes.seen)].join(' | ')} |`;
}

function section({ title, rows }: Results['sections'][number]): string {
  return `
## ${title}

| | load | offered | in time a second | refused | late | failed | p99 of the good, ms | p50 and p99 of refusals, ms | load late, p99 and most, ms |
|---|---|---|---|---|---|---|---|---|---|
${rows.map(cellRow).join('\n')}
`;
}

function cellRow({ cell, load, seen }: Row): string {
  const { offered, refused, late, failed } = seen;
  const name = [
    cell.policy,
    cell.work === 'query' ? cell.shape : 'processor work',
    cell.connections === 'new' && 'a new connection each',
  ]
    .filter(Boolean)
    .join(', ');
  const times = [seen.goodP99Ms.toFixed(0), `${seen.refusedP50Ms.toFixed(0)}, ${seen.refusedP99Ms.toFixed(0)}`];
  return `| ${[name, `${load}x`, offered, goodput(seen, cell).toFixed(0), refused, late, failed, ...times, lags(seen)].join(' | ')} |`;
}

function lags({ lagP99Ms, lagMaxMs }: Seen): string {
  return `${lagP99Ms.toFixed(0)}, ${lagMaxMs.toFixed(0)}`;
}
