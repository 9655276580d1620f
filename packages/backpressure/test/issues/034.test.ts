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

test('whoever may not end in time makes way for who can, if that one is no more patient and all have waited for long', async () => {
  expect(await served({ heldMs: 150, patienceMs: 170, lastPatienceMs: 170 })).toEqual(['held', 'last']);
  expect(await served({ heldMs: 150, patienceMs: 170, lastPatienceMs: 1_000 })).toEqual(['held', 'first', 'last']);
  expect(await served({ heldMs: 80, patienceMs: 100, lastPatienceMs: 100 })).toEqual(['held', 'first', 'last']);
});

/** Who is served: one call in ten takes 50 ms, the others 10; `first` comes with `held`, `last` 10 ms before that ends, and then `first` has 20 ms left. */
async function served(asked: { heldMs: number; patienceMs: number; lastPatienceMs: number }): Promise<string[]> {
  const clock = new VirtualClock();
  const limiter = new ConcurrencyLimiter({ limit: 1, order: 'adaptive', clock });
  const begun: string[] = [];
  const ask = (key: string, takesMs: number, deadlineMs: number): void => {
    const work = () => {
      begun.push(key);
      return new Promise<void>((resolve) => void clock.setTimeout(resolve, takesMs));
    };
    limiter.run(work, { key, deadlineMs }).catch(() => {});
  };
  for (let n = 0; n < 10; n++) {
    ask('known', n === 4 ? 50 : 10, 1_000);
    await clock.runUntil(clock.now() + 50);
  }
  begun.length = 0;
  ask('held', asked.heldMs, 1_000);
  ask('first', 10, asked.patienceMs);
  await clock.runUntil(clock.now() + asked.heldMs - 10);
  ask('last', 10, asked.lastPatienceMs);
  await clock.runUntil(clock.now() + 100);
  return begun;
}
