import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { startPostgres } from '@x/local-services';
import { expect, test } from 'vitest';
import { startBusyLoops } from './trial/busy-loops.ts';
import { type Cell, goodput, type Policy, type Shape, trial } from './trial/trial.ts';
import { type Round, type Row, trialReport } from './trial/trial-report.ts';

// `pnpm soak` sets the time of a cell, and where the report goes; trial.test.ts is the short one.
const seconds = process.env.TRIAL_SECONDS === undefined ? undefined : Number(process.env.TRIAL_SECONDS);
const report = process.env.SOAK_REPORT;

const countedMs = (seconds ?? 0) * 1_000;
const warmUpMs = Math.min(2_000, countedMs);
const loads = [1, 5, 10];

interface Group {
  policies: readonly Policy[];
  shape: Shape;
  work: Cell['work'];
}
const fifos: Group = { policies: ['unbounded FIFO', 'FIFO of 1,000'], shape: 'withAdmission', work: 'query' };
const bounded: readonly Group[] = [
  { policies: ['bulkhead', 'ours'], shape: 'withAdmission', work: 'query' },
  { policies: ['bulkhead', 'ours'], shape: 'around the work', work: 'query' },
  { policies: ['unbounded FIFO', 'bulkhead', 'ours'], shape: 'withAdmission', work: 'processor' },
];

test.runIf(seconds !== undefined)(
  `every policy at every load, ${seconds} s a cell`,
  async () => {
    await using postgres = await startPostgres();
    const base = { url: await postgres.createDatabase(), warmUpMs, countedMs, connections: 'kept' } as const;
    const at = async (load: number, cell: Omit<Cell, 'perSecond'>): Promise<Row> => {
      const full = { ...cell, perSecond: load * capacity[cell.work] };
      return { cell: full, load, seen: await trial(full) };
    };
    // What the pool does when it never runs dry, and the processor when it never rests.
    const capacityOf = async (work: Cell['work'], policy: Policy, perSecond: number): Promise<number> => {
      const cell = { ...base, work, policy, perSecond, shape: 'withAdmission' } as const;
      return goodput(await trial(cell), cell);
    };
    const capacity = {
      query: await capacityOf('query', 'bulkhead', 900),
      processor: await capacityOf('processor', 'unbounded FIFO', 1_000),
    };

    // Four connections, 20 ms a call: 200, less what a query costs besides. A page of a machine that has no processor for it says nothing.
    expect(capacity.query, 'calls a second of a bulkhead: this machine cannot tell').toBeGreaterThan(120);

    const gate = { ...base, work: 'query', shape: 'withAdmission' } as const;
    // The answers of so few seconds differ by more than is asked about here.
    const longer = { ...gate, countedMs: 3 * countedMs };
    const rounds: Round[] = [];
    for (let round = 0; round < 3; round++) {
      rounds.push({
        once: await at(1, { ...longer, policy: 'ours' }),
        fiveTimes: await at(5, { ...longer, policy: 'ours' }),
        bulkheadFiveTimes: await at(5, { ...longer, policy: 'bulkhead' }),
      });
    }

    const all = async (groups: readonly Group[]): Promise<Row[]> => {
      const rows: Row[] = [];
      for (const { policies, shape, work } of groups) {
        for (const policy of policies) {
          for (const load of loads) rows.push(await at(load, { ...base, policy, shape, work }));
        }
      }
      for (const load of [1, 5]) rows.push(await at(load, { ...gate, policy: 'ours', connections: 'new' }));
      return rows;
    };
    const alone = { title: 'A machine with a processor to spare', rows: await all([fifos, ...bounded]) };
    const busyRows = async (): Promise<Row[]> => {
      await using _loops = startBusyLoops(cpus().length);
      return await all(bounded);
    };
    const busy = { title: 'A busy loop on each processor', rows: await busyRows() };
    write(trialReport({ capacity, rounds, sections: [alone, busy] }, countedMs, warmUpMs));

    for (const { once, fiveTimes, bulkheadFiveTimes } of rounds) {
      // Where the bulkhead does not hold either, the machine had no processor for the server.
      if (per(bulkheadFiveTimes) < 0.85 * capacity.query) continue;
      expect(per(fiveTimes)).toBeGreaterThan(0.85 * per(once));
    }
  },
  1_800_000,
);

function per({ seen, cell }: Row): number {
  return goodput(seen, cell);
}

function write(text: string): void {
  if (report === undefined) {
    console.log(text);
    return;
  }
  const file = join(import.meta.dirname, '..', report);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
