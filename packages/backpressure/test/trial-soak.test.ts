import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startPostgres } from '@x/local-services';
import { expect, test } from 'vitest';
import { type Cell, type Policy, type Seen, type Shape, trial } from './trial/trial.ts';

// In CI a few short cells with bounds far from what is seen; `pnpm soak` sets the time of a cell, and where the report goes.
const seconds = process.env.TRIAL_SECONDS === undefined ? undefined : Number(process.env.TRIAL_SECONDS);
const report = process.env.SOAK_REPORT;

const policies: readonly Policy[] = ['unbounded FIFO', 'FIFO of 1,000', 'bulkhead', 'ours'];
const shapes: readonly Shape[] = ['around the query', 'withAdmission'];
const loads = [0.5, 1, 2, 5, 10];

test('against a real server and PostgreSQL, the answers in time at five times the load are as many as at once', async ({
  skip,
}) => {
  await using postgres = await startPostgres();
  const url = await postgres.createDatabase();
  const shape = 'withAdmission';
  const cell = { url, shape, warmUpMs: 2_000, countedMs: 2_000, connections: 'kept' } as const;
  const capacity = await capacityOf({ ...cell });
  const once = await trial({ ...cell, policy: 'ours', perSecond: capacity });
  const fiveTimes = await trial({ ...cell, policy: 'ours', perSecond: 5 * capacity });
  expect(fiveTimes.failed).toBe(0);
  // A load that is itself late says nothing of the server: there was no processor to spare.
  if (Math.max(once.lagMs, fiveTimes.lagMs) > 30) skip();
  expect(fiveTimes.good).toBeGreaterThan(0.7 * once.good);
  expect(fiveTimes.refused).toBeGreaterThan(fiveTimes.good);
}, 60_000);

test.runIf(seconds !== undefined)(
  `every policy at every load, ${seconds} s a cell`,
  async () => {
    await using postgres = await startPostgres();
    const url = await postgres.createDatabase();
    const countedMs = (seconds as number) * 1_000;
    const base = { url, warmUpMs: 3_000, countedMs, connections: 'kept' } as const;
    const capacity = await capacityOf({ ...base, shape: 'around the query' });
    const share = ({ good }: Seen): number => good / (capacity * (countedMs / 1_000));
    const page: string[] = [];
    const latencies: string[] = [];
    const keptByOurs: number[] = [];
    let lacked = false;
    for (const shape of shapes) {
      page.push(`\n## ${shape}\n`, `| policy | ${loads.map((load) => `${load}x`).join(' | ')} | 5x / 1x |`);
      page.push(`|---|${'---|'.repeat(loads.length + 1)}`);
      for (const policy of policies) {
        const row: Seen[] = [];
        for (const load of loads) row.push(await trial({ ...base, policy, shape, perSecond: load * capacity }));
        const shares = row.map(share);
        const kept = (shares[3] ?? Number.NaN) / (shares[1] ?? Number.NaN);
        page.push(`| ${[policy, ...[...shares, kept].map((each) => each.toFixed(3))].join(' | ')} |`);
        if (policy === 'ours') {
          keptByOurs.push(kept);
          lacked ||= row.some(({ lagMs }) => lagMs > 30);
          for (const [n, seen] of row.entries()) latencies.push(latency(`${shape}, ${loads[n]}x`, seen));
        }
      }
    }
    const fresh = { ...base, policy: 'ours', shape: 'withAdmission', connections: 'new' } as const;
    for (const load of [1, 5]) {
      latencies.push(
        latency(
          `withAdmission, ${load}x, a new connection each`,
          await trial({ ...fresh, perSecond: load * capacity }),
        ),
      );
    }
    write(capacity, page, latencies);
    if (!lacked) expect(Math.min(...keptByOurs)).toBeGreaterThan(0.85);
  },
  1_200_000,
);

/** What the pool does when it never runs dry: the good answers of a bulkhead that is offered far more. */
async function capacityOf(cell: Omit<Cell, 'policy' | 'perSecond'>): Promise<number> {
  const { good } = await trial({ ...cell, policy: 'bulkhead', perSecond: 800 });
  return good / (cell.countedMs / 1_000);
}

function latency(name: string, seen: Seen): string {
  const { offered, good, refused, late, failed, goodP99Ms, refusedP50Ms, refusedP99Ms, lagMs } = seen;
  const times = [goodP99Ms, refusedP50Ms, refusedP99Ms, lagMs].map((ms) => ms.toFixed(1));
  return `| ${[name, offered, good, refused, late, failed, ...times].join(' | ')} |`;
}

function write(capacity: number, page: readonly string[], latencies: readonly string[]): void {
  const text = `# Soak of @x/backpressure

A real HTTP server over a real PostgreSQL: each call is one query that sleeps for 20 ms in the mean (exponential), over a pool of four connections. The load comes
from another process, open loop: Poisson arrivals that do not wait for answers. A caller hangs up after 200 ms, and its time counts from when the call was due
(\`pnpm --filter @x/backpressure soak\`; ${seconds} s a cell after 3 s of warm-up, Node ${process.versions.node}).

The capacity, measured as what a bulkhead turns into answers when far more is offered, is ${capacity.toFixed(0)} calls a second. Below: answers in time / capacity.
All but ours are told that there are four connections; ours is \`new KneeLimit()\` with all defaults, and is told the deadline.
${page.join('\n')}

## Times of ours

| | offered | in time | refused | late | failed | p99 of the good, ms | p50 of refusals, ms | p99 of refusals, ms | generator late by at most, ms |
|---|---|---|---|---|---|---|---|---|---|
${latencies.join('\n')}
`;
  if (report === undefined) {
    console.log(text);
    return;
  }
  const file = join(import.meta.dirname, '..', report);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
