import { type OverloadOutcome, type OverloadScenario, serviceTimes, simulateOverload } from '@x/testkit';
import type { Policy } from './policies.ts';

/** What a policy makes of one scenario with one seed: a share, 1 where nothing better can be asked for. */
export type Measure = (policy: Policy, seed: number) => Promise<number>;

/** Ten seconds after three of warming up. */
const steady = { fromMs: 3_000, endMs: 13_000 };
/** Offered 0.8 of the capacity, and everything takes four times as long for 20 s. */
const brownOut = {
  load: () => 0.8,
  slowness: (now: number) => (now >= 5_000 && now < 25_000 ? 4 : 1),
  fromMs: 5_000,
  endMs: 25_000,
};
const brownOutCapacity = ({ capacity }: OverloadOutcome): number => (capacity / 4) * 20;
/** Five seconds of ten times the load, then half of it; the first second after. */
const afterBurst = { load: (now: number) => (now >= 3_000 && now < 8_000 ? 10 : 0.5), fromMs: 8_000, endMs: 9_000 };
const half = { criticalShare: 0.5 };

/** Good answers / capacity. */
export function goodput(scenario: Partial<OverloadScenario> & Pick<OverloadScenario, 'load'>): Measure {
  return async (policy, seed) => {
    const whole = { ...steady, ...scenario, seed };
    const { good, capacity } = await simulateOverload(policy, whole);
    return (good / capacity / (whole.endMs - whole.fromMs)) * 1_000;
  };
}

/** Good answers / calls offered. */
export function answered(load: number): Measure {
  return async (policy, seed) => {
    const { good, offered } = await simulateOverload(policy, { ...steady, load: () => load, seed });
    return good / offered;
  };
}

/** Good answers / what the slow service can do. */
export function brownedOut(kind: 'exponential' | 'constant'): Measure {
  return async (policy, seed) => {
    const outcome = await simulateOverload(policy, { ...brownOut, service: serviceTimes[kind], seed });
    return outcome.good / brownOutCapacity(outcome);
  };
}

/** Good answers / calls offered in the first second after the burst. */
export const recovered: Measure = async (policy, seed) => {
  const { good, offered } = await simulateOverload(policy, { ...afterBurst, seed });
  return good / offered;
};

/** Half of the calls is critical: good critical ones / min(critical ones offered, capacity). */
export function critical(load: number): Measure {
  return async (policy, seed) => {
    const outcome = await simulateOverload(policy, { ...steady, ...half, load: () => load, seed });
    return outcome.goodCritical / Math.min(outcome.offeredCritical, outcome.capacity * 10);
  };
}

/** The same in the brown-out. */
export const criticalBrownedOut: Measure = async (policy, seed) => {
  const outcome = await simulateOverload(policy, { ...brownOut, ...half, seed });
  return outcome.goodCritical / Math.min(outcome.offeredCritical, brownOutCapacity(outcome));
};

/** The same in the first second after the burst. */
export const criticalRecovered: Measure = async (policy, seed) => {
  const { goodCritical, offeredCritical } = await simulateOverload(policy, { ...afterBurst, ...half, seed });
  return goodCritical / offeredCritical;
};

export const seeds: readonly number[] = [1, 2, 3, 4, 5];

export async function mean(
  measure: (seed: number) => Promise<number>,
  over: readonly number[] = seeds,
): Promise<number> {
  let sum = 0;
  for (const seed of over) sum += await measure(seed);
  return sum / over.length;
}

export function decimals(share: number): string {
  return share.toFixed(3).replace(/^0/, '');
}
