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

/** Two times the load on services that the defaults were not chosen for; beside it what is to be had where the workers are known. */
async function printGrid(): Promise<void> {
  console.log(
    '\nthe grid, at 2 times the load: ours / ours with W known; a cell below .90 is marked with its reason\n',
  );
  print('workers, service', ['50 ms', '200 ms', '1 s', '5 s']);
  for (const workers of [2, 10, 100]) {
    for (const [kind, service] of Object.entries(serviceTimes)) {
      const cells: string[] = [];
      for (const deadlineMs of [50, 200, 1_000, 5_000]) {
        const fromMs = 10_000;
        const scenario = { workers, service, deadlineMs, load: () => 2, fromMs, endMs: 20_000 };
        const own = await mean((seed) => goodput(policies[ours] as Policy, { ...scenario, seed }), [1, 2]);
        const best = await mean((seed) => goodput(oracle(workers), { ...scenario, seed }), [1, 2]);
        const reason = own >= 0.9 ? '' : own >= 0.95 * best ? ' *' : ' !';
        cells.push(`${decimals(own)}/${decimals(best)}${reason}`);
      }
      print(`${workers} ${kind}`, cells);
    }
  }
  console.log(
    '\n* below .90, and no more than that is to be had: within 5 % of the same queue with the number of workers known',
  );
  console.log(
    `! below .90, and more could be had: the limit, which begins at ${new KneeLimit().limit}, is not at its best`,
  );
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
