import { KneeLimit } from '@x/backpressure';
import { type OverloadScenario, serviceTimes, simulateOverload } from '@x/testkit';
import { oracle, ours, type Policy, policies } from './backpressure-simulation/policies.ts';

const seeds = [1, 2, 3];
const loads = [0.5, 1, 2, 5, 10];

/**
 * Ten workers of 10 ms with exponential times, answers of use within 100 ms: how much of the capacity each policy turns into
 * answers in time. Then a grid that nothing was tuned on.
 */
export async function runBackpressureSimulationBench(): Promise<void> {
  console.log(
    'good answers / capacity, 10 workers, exponential 10 ms, deadline 100 ms, Poisson arrivals, mean of 3 seeds\n',
  );
  print('', [...loads.map((load) => `${load}x`), 'brown exp', 'brown const', 'recovery']);
  print('goal', ['.50', '.96', '.99', '.99', '.99', '.90 of best', '.99 of best', '< 1 s']);
  for (const [name, policy] of Object.entries(policies)) await printRow(name, policy);
  await printRow('best: our queue, knows W', oracle(10));

  console.log('\ncritical half: good critical / min(offered critical, capacity); goal .99\n');
  print('', ['1x', '2x', '5x', '10x']);
  for (const name of ['Vegas 1 s, no queue', 'Vegas 100 ms, our queue', ours]) {
    print(name, await Promise.all([1, 2, 5, 10].map(async (load) => decimals(await critical(policies[name], load)))));
  }
  print(
    'best: our queue, knows W',
    await Promise.all([1, 2, 5, 10].map(async (load) => decimals(await critical(oracle(10), load)))),
  );
  print(
    'the same, critical calls alone',
    await Promise.all([1, 2, 5, 10].map(async (load) => decimals(await alone(load)))),
  );
  console.log(
    '\nAt 2x the critical half is all of the capacity, and comes at random: what waits too long then is lost, though nothing else is served.',
  );
  await printGrid();
}

async function printRow(name: string, policy: Policy): Promise<void> {
  const goodputs: string[] = [];
  for (const load of loads) goodputs.push(decimals(await mean((seed) => goodput(policy, { load: () => load, seed }))));
  const exponential = await mean((seed) => brownOut(policy, 'exponential', seed));
  const constant = await mean((seed) => brownOut(policy, 'constant', seed));
  print(name, [
    ...goodputs,
    decimals(exponential),
    decimals(constant),
    `${await mean((seed) => recovery(policy, seed))} s`,
  ]);
}

async function goodput(policy: Policy, scenario: Partial<OverloadScenario> & { seed: number }): Promise<number> {
  const { fromMs = 3_000, endMs = 13_000 } = scenario;
  const { good, capacity } = await simulateOverload(policy, { load: () => 1, fromMs, endMs, ...scenario });
  return (good / capacity / (endMs - fromMs)) * 1_000;
}

/** Offered 0.8 of the capacity, and everything takes four times as long for 20 s: good answers / what the slow service can do. */
async function brownOut(policy: Policy, kind: 'exponential' | 'constant', seed: number): Promise<number> {
  const { good, capacity } = await simulateOverload(policy, {
    service: serviceTimes[kind],
    load: () => 0.8,
    slowness: (now) => (now >= 5_000 && now < 25_000 ? 4 : 1),
    fromMs: 5_000,
    endMs: 25_000,
    seed,
  });
  return good / ((capacity / 4) * 20);
}

/** Seconds until 99 in 100 calls of a second are good, after 5 s of ten times the load. */
async function recovery(policy: Policy, seed: number): Promise<number> {
  const load = (now: number): number => (now >= 3_000 && now < 8_000 ? 10 : 0.5);
  const { offeredPerSecond, goodPerSecond } = await simulateOverload(policy, { load, fromMs: 0, endMs: 28_000, seed });
  const after = goodPerSecond.slice(8).map((good, second) => good / (offeredPerSecond[8 + second] ?? 1));
  const well = after.findIndex((share) => share >= 0.99);
  return well === -1 ? Number.POSITIVE_INFINITY : well;
}

async function critical(policy: Policy | undefined, load: number): Promise<number> {
  if (policy === undefined) return Number.NaN;
  return mean(async (seed) => {
    const scenario = { load: () => load, criticalShare: 0.5, fromMs: 3_000, endMs: 13_000, seed };
    const { goodCritical, offeredCritical, capacity } = await simulateOverload(policy, scenario);
    return goodCritical / Math.min(offeredCritical, capacity * 10);
  });
}

/** What is to be had for critical calls at most: as if nobody else came. */
async function alone(load: number): Promise<number> {
  const scenario = { load: () => load / 2, fromMs: 3_000, endMs: 13_000 };
  return mean(async (seed) => {
    const { good, offered, capacity } = await simulateOverload(oracle(10), { ...scenario, seed });
    return good / Math.min(offered, capacity * 10);
  });
}

/** Two times the load on services that the defaults were not chosen for; beside it what is to be had where the workers are known. */
async function printGrid(): Promise<void> {
  console.log('\nthe grid, at 2 times the load: ours / ours with W known\n');
  print('workers, service', ['50 ms', '200 ms', '1 s', '5 s']);
  const listed: string[] = [];
  for (const workers of [2, 10, 100]) {
    for (const [kind, service] of Object.entries(serviceTimes)) {
      const cells: string[] = [];
      for (const deadlineMs of [50, 200, 1_000, 5_000]) {
        const cell = { workers, service, deadlineMs, load: () => 2 };
        const [own, best] = await ownAndBest(cell, 10_000);
        cells.push(`${decimals(own)}/${decimals(best)}`);
        if (own < 0.9) listed.push(`${workers} ${kind}, ${deadlineMs} ms: ${await reason(cell, own, best)}`);
      }
      print(`${workers} ${kind}`, cells);
    }
  }
  console.log('\ncells below .90, and why:\n');
  for (const line of listed) console.log(line);
}

type GridCell = Pick<OverloadScenario, 'workers' | 'service' | 'deadlineMs' | 'load'>;

async function ownAndBest(cell: GridCell, fromMs: number): Promise<[own: number, best: number]> {
  const scenario = { ...cell, fromMs, endMs: fromMs + 10_000 };
  const own = await mean((seed) => goodput(policies[ours] as Policy, { ...scenario, seed }), [1, 2]);
  const best = await mean((seed) => goodput(oracle(cell.workers ?? 10), { ...scenario, seed }), [1, 2]);
  return [own, best];
}

/** Not to be had; not found yet; or the limit stays off its best. */
async function reason(cell: GridCell, own: number, best: number): Promise<string> {
  const numbers = `${decimals(own)}, with W known ${decimals(best)}`;
  if (own >= 0.95 * best) return `${numbers}: no more is to be had, ${why(cell)}`;
  const [later, bestThen] = await ownAndBest(cell, 40_000);
  const then = `after 40 s ${decimals(later)} of ${decimals(bestThen)}`;
  return later >= 0.95 * bestThen
    ? `${numbers}: the search for the limit, from ${new KneeLimit().limit}, is not over after 10 s; ${then}`
    : `${numbers}: the limit stays off its best (1.2 W + 1 and the noise of few calls); ${then}`;
}

function why({ service, deadlineMs = 100 }: GridCell): string {
  if (service === serviceTimes.bimodal) {
    return `one call in a hundred holds a worker for 2 s${deadlineMs < 2_000 ? ', and is late for certain' : ''}`;
  }
  return `work that is begun may take longer than what is left of ${deadlineMs} ms, and nobody knows beforehand`;
}

async function mean(measure: (seed: number) => Promise<number>, over: readonly number[] = seeds): Promise<number> {
  let sum = 0;
  for (const seed of over) sum += await measure(seed);
  return sum / over.length;
}

function decimals(share: number): string {
  return share.toFixed(3).replace(/^0/, '');
}

function print(name: string, cells: readonly string[]): void {
  console.log(name.padEnd(28) + cells.map((cell) => cell.padStart(13)).join(''));
}
