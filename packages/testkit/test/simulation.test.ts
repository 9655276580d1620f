import { serviceTimes, simulateOverload, VirtualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

describe('VirtualClock', () => {
  test('fires in order of time, then of creation, and what is cleared never', async () => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    const note = (name: string) => () => void fired.push(`${name}@${clock.now()}`);
    for (const ms of [7, 3, 9, 1, 5, 3, 8, 2]) clock.setTimeout(note(`${ms}`), ms);
    const cleared = clock.setTimeout(note('cleared'), 4);
    clock.clearTimeout(cleared);
    clock.setTimeout(() => Promise.resolve().then(note('then')), 3);
    await clock.runUntil(8);
    expect(fired).toEqual(['1@1', '2@2', '3@3', '3@3', 'then@3', '5@5', '7@7', '8@8']);
    expect(clock.now()).toBe(8);
    await clock.runUntil(20);
    expect(fired.at(-1)).toBe('9@9');
  });
});

describe('simulateOverload', () => {
  const scenario = { load: () => 0.5, fromMs: 1_000, endMs: 11_000, seed: 1 };
  const openDoor = () => (work: () => Promise<void>) => work();

  test('a service that is not overloaded answers all in time; the same seed gives the same', async () => {
    const outcome = await simulateOverload(openDoor, { ...scenario, service: serviceTimes.constant });
    expect(outcome.capacity).toBe(1_000);
    expect(outcome.offered).toBeGreaterThan(4_500);
    expect(outcome.offered).toBeLessThan(5_500);
    expect(outcome.good).toBe(outcome.offered);
    expect(await simulateOverload(openDoor, { ...scenario, service: serviceTimes.constant })).toEqual(outcome);
  });

  test('with an open door one that is overloaded answers hardly any in time', async () => {
    const outcome = await simulateOverload(openDoor, { ...scenario, load: () => 2 });
    expect(outcome.good / outcome.offered).toBeLessThan(0.05);
  });

  test('what is not let in is not served; priorities are passed on', async () => {
    const onlyCritical = () => (work: () => Promise<void>, call: { priority: string }) =>
      call.priority === 'critical' ? work() : Promise.reject(new Error('no'));
    const outcome = await simulateOverload(onlyCritical, { ...scenario, criticalShare: 0.5 });
    expect(outcome.good).toBe(outcome.goodCritical);
    expect(outcome.goodCritical / outcome.offeredCritical).toBeGreaterThan(0.99);
  });
});
