import { KneeLimit } from '@x/backpressure';
import { type OverloadScenario, serviceTimes } from '@x/testkit';
import { fixedLimit, ours, type Policy, policies } from './policies.ts';
import { decimals, goodput, mean } from './scenarios.ts';

type Cell = Required<Pick<OverloadScenario, 'workers' | 'service' | 'deadlineMs' | 'load'>>;

const own = policies[ours] as Policy;
const gridSeeds = [1, 2];

/** Two times the load on services that the defaults were not chosen for; beside it our queue with a limit of W, the number of workers. */
export async function printGrid(): Promise<void> {
  console.log('the grid, at 2 times the load: ours / our queue with its limit fixed at W\n');
  row('workers, service', ['50 ms', '200 ms', '1 s', '5 s']);
  const listed: string[] = [];
  for (const workers of [2, 10, 100]) {
    for (const [kind, service] of Object.entries(serviceTimes)) {
      const cells: string[] = [];
      for (const deadlineMs of [50, 200, 1_000, 5_000]) {
        const cell = { workers, service, deadlineMs, load: () => 2 };
        const [mine, known] = [await seen(own, cell), await seen(fixedLimit(workers), cell)];
        cells.push(`${decimals(mine)}/${decimals(known)}`);
        if (mine < 0.9) listed.push(`${workers} ${kind}, ${deadlineMs} ms: ${await reason(cell, mine, known)}`);
      }
      row(`${workers} ${kind}`, cells);
    }
  }
  console.log('\ncells below .90, and why, measured in the same cell:\n');
  for (const line of listed) console.log(line);
}

function seen(policy: Policy, cell: Cell, fromMs = 10_000): Promise<number> {
  return mean((seed) => goodput({ ...cell, fromMs, endMs: fromMs + 10_000 })(policy, seed), gridSeeds);
}

/** No limit does better; or the right one is not found yet; or the search ends beside it. */
async function reason(cell: Cell, mine: number, known: number): Promise<string> {
  const { workers } = cell;
  let best = { limit: workers, share: known };
  for (const limit of [workers + 1, Math.floor(1.2 * workers + 1), 2 * workers, 4 * workers]) {
    const share = await seen(fixedLimit(limit), cell);
    if (share > best.share) best = { limit, share };
  }
  const numbers = `${decimals(mine)}; the best fixed limit of W, W + 1, 1.2 W + 1, 2 W, 4 W is ${best.limit}, with ${decimals(best.share)}`;
  if (best.share < 0.9) return `${numbers}: no limit reaches .90 there`;
  if (mine >= 0.95 * best.share) return `${numbers}: within 5 % of it`;
  const later = await seen(own, cell, 40_000);
  return later >= 0.9
    ? `${numbers}: the search for the limit, from ${new KneeLimit().limit}, is not over after 10 s; after 40 s ${decimals(later)}`
    : `${numbers}: the search ends beside it; after 40 s ${decimals(later)}`;
}

function row(name: string, cells: readonly string[]): void {
  console.log(name.padEnd(28) + cells.map((cell) => cell.padStart(13)).join(''));
}
