import { ConcurrencyLimiter } from '@x/backpressure';
import { simulateOverload, VirtualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// Callers take turns in the order in which they came. Where each has one call, as behind a gate, the oldest of all was begun, with just time enough
// for half of them: at 1.2 times what can be borne .72 of it was answered in time, and .98 where all were one caller.

async function goodOfCapacity(load: number, callers: number): Promise<number> {
  let calls = 0;
  const { good, capacity } = await simulateOverload(
    (surroundings) => {
      const limiter = new ConcurrencyLimiter({ limit: 10, order: 'adaptive', ...surroundings });
      return (work, call) => limiter.run(work, { ...call, key: `caller ${calls++ % callers}` });
    },
    { load: () => load, fromMs: 2_000, endMs: 12_000, seed: 7 },
  );
  return good / (capacity * 10);
}

test('a thousand callers with a call each are served in time under overload', async () => {
  expect(await goodOfCapacity(1.2, 1_000)).toBeGreaterThan(0.92);
  expect(await goodOfCapacity(1.5, 1_000)).toBeGreaterThan(0.92);
});

test('whoever may not end in time makes way for who can, and is tried where nobody else can either', async () => {
  const clock = new VirtualClock();
  const limiter = new ConcurrencyLimiter({ limit: 1, order: 'adaptive', clock });
  const served: string[] = [];
  const ask = (name: string, deadlineMs: number, key = name) =>
    limiter
      .run(
        () => {
          served.push(name);
          return new Promise<void>((resolve) => void clock.setTimeout(resolve, name.startsWith('long') ? 50 : 10));
        },
        { deadlineMs, key },
      )
      .catch((error) => void served.push(`${name}: ${error.reason}`));
  // One in ten takes 50 ms, the others 10.
  for (let n = 0; n < 10; n++) {
    const call = ask(n === 4 ? 'long' : 'known', 1_000);
    await clock.runUntil(clock.now() + 50);
    await call;
  }
  served.length = 0;
  // The first holds the permit for 50 ms; then the second has 20 ms left, which half of the calls need, and the third has time enough.
  const calls = [ask('long', 1_000), ask('second', 70), ask('third', 1_000)];
  await clock.runUntil(clock.now() + 100);
  await Promise.all(calls);
  expect(served).toEqual(['long', 'third', 'second: deadline']);

  served.length = 0;
  const short = [ask('long', 1_000), ask('second', 70), ask('third', 75)];
  await clock.runUntil(clock.now() + 100);
  await Promise.all(short);
  expect(served).toEqual(['long', 'second', 'third']);
});
