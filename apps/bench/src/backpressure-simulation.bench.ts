import { printGoals } from './backpressure-simulation/goals.ts';
import { oracle, type Policy, policies } from './backpressure-simulation/policies.ts';
import { brownedOut, decimals, goodput, mean, recovered, seeds } from './backpressure-simulation/scenarios.ts';

const loads = [0.5, 1, 2, 5, 10];
/** The peers are far from the goals or well beyond them: for those three seeds do. */
const peerSeeds = seeds.slice(0, 3);

/**
 * Ten workers of 10 ms with exponential times, answers of use within 100 ms: how much of the capacity each policy turns into
 * answers in time.
 */
export async function runBackpressureSimulationBench(): Promise<void> {
  console.log(
    '10 workers, exponential 10 ms, deadline 100 ms, Poisson arrivals; ours with defaults, told of no capacity.',
  );
  console.log(
    `Seeds ${seeds.join(', ')}. Raw: good / the capacity, the slow one in the brown-out; critical: / min(critical offered, capacity).`,
  );
  console.log(
    'Best: our queue with its limit fixed at the number of workers, which is all that it knows beforehand: not what a call',
  );
  console.log(
    'will take, nor that the service became slower. To be had: 1, or what the best has with the same calls where that is less.\n',
  );
  await printGoals();

  console.log('\ngood answers / capacity; the last: good answers / offered in the first second after 10x; 3 seeds\n');
  print('', [...loads.map((load) => `${load}x`), 'brown exp', 'brown const', 'after 10x']);
  for (const [name, policy] of Object.entries(policies)) await printRow(name, policy);
  await printRow('best: our queue, knows W', oracle(10));
}

async function printRow(name: string, policy: Policy): Promise<void> {
  const measures = [
    ...loads.map((load) => goodput({ load: () => load })),
    brownedOut('exponential'),
    brownedOut('constant'),
    recovered,
  ];
  const cells: string[] = [];
  for (const measure of measures) cells.push(decimals(await mean((seed) => measure(policy, seed), peerSeeds)));
  print(name, cells);
}

function print(name: string, cells: readonly string[]): void {
  console.log(name.padEnd(28) + cells.map((cell) => cell.padStart(13)).join(''));
}
