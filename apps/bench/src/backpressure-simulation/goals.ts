import { oracle, ours, type Policy, policies } from './policies.ts';
import {
  answered,
  brownedOut,
  critical,
  criticalBrownedOut,
  criticalRecovered,
  decimals,
  goodput,
  type Measure,
  recovered,
  seeds,
} from './scenarios.ts';

interface Goal {
  what: string;
  measure: Measure;
  atLeast: number;
  /** The goal is a share of what can be had: all, or what the best policy has of the same calls where that is less. */
  ofBest?: true;
}

const goals: readonly Goal[] = [
  { what: 'answered at 0.5x / offered', measure: answered(0.5), atLeast: 0.99 },
  { what: 'at 1x / capacity', measure: goodput({ load: () => 1 }), atLeast: 0.96 },
  { what: 'at 2x / capacity', measure: goodput({ load: () => 2 }), atLeast: 0.99 },
  { what: 'at 5x / capacity', measure: goodput({ load: () => 5 }), atLeast: 0.99 },
  { what: 'at 10x / capacity', measure: goodput({ load: () => 10 }), atLeast: 0.99 },
  { what: 'brown-out, exponential / to be had', measure: brownedOut('exponential'), atLeast: 0.9, ofBest: true },
  { what: 'brown-out, constant / to be had', measure: brownedOut('constant'), atLeast: 0.99, ofBest: true },
  { what: 'first second after 10x / offered', measure: recovered, atLeast: 0.99 },
  { what: 'critical at 1x / to be had', measure: critical(1), atLeast: 0.99, ofBest: true },
  { what: 'critical at 2x / to be had', measure: critical(2), atLeast: 0.99, ofBest: true },
  { what: 'critical at 5x / to be had', measure: critical(5), atLeast: 0.99, ofBest: true },
  { what: 'critical at 10x / to be had', measure: critical(10), atLeast: 0.99, ofBest: true },
  { what: 'critical in the brown-out / to be had', measure: criticalBrownedOut, atLeast: 0.99, ofBest: true },
  { what: 'critical, first second after 10x', measure: criticalRecovered, atLeast: 0.99 },
];

/** Every goal with what is seen: the mean over the seeds, and the worst of them. */
export async function printGoals(): Promise<void> {
  const own = policies[ours] as Policy;
  const best = oracle(10);
  row('goal', ['at least', 'mean', 'worst', 'raw mean', 'raw worst', 'best mean', 'verdict']);
  for (const { what, measure, atLeast, ofBest } of goals) {
    const raw: number[] = [];
    const had: number[] = [];
    const values: number[] = [];
    for (const seed of seeds) {
      const [mine, theirs] = [await measure(own, seed), await measure(best, seed)];
      raw.push(mine);
      had.push(theirs);
      values.push(ofBest ? mine / Math.min(1, theirs) : mine);
    }
    const numbers = [atLeast, meanOf(values), Math.min(...values), meanOf(raw), Math.min(...raw), meanOf(had)];
    row(what, [...numbers.map(decimals), verdict(values, atLeast)]);
  }
}

function verdict(values: readonly number[], atLeast: number): string {
  if (meanOf(values) < atLeast) return 'MISSED';
  return Math.min(...values) < atLeast ? 'met (mean)' : 'met';
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function row(name: string, cells: readonly string[]): void {
  console.log(name.padEnd(36) + cells.map((cell) => cell.padStart(11)).join(''));
}
