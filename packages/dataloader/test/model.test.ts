import { DataLoader, type DataLoaderOptions } from '@x/dataloader';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

type Step =
  | { do: 'load' | 'clear' | 'prime'; key: number }
  | { do: 'load and leave'; key: number; after: number }
  | { do: 'clear all' | 'turn' | 'break' | 'mend' };

const key = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('load' as const), key }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('load and leave' as const), key, after: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.constant<Step>({ do: 'turn' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prime' as const), key }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'clear all' }, { do: 'break' }, { do: 'mend' }) },
);

describe.each<[string, DataLoaderOptions<number, string>]>([
  ['its own cache', {}],
  ['unordered hits', { orderedHits: false }],
  ['small batches, one at a time', { maxBatchSize: 2, maxConcurrentBatches: 1 }],
  ['a bounded cache', { maxEntries: 2 }],
  ['no cache', { cache: false, dedupe: true }],
  ['the adaptive schedule', { schedule: 'adaptive', maxBatchSize: 3 }],
])('any interleaving of load, clear, prime, abort and failing batches, with %s', (_name, options) => {
  it('gives every caller the value of its own key, its error or its abort, and loses none', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        await play(steps, options);
      }),
      { numRuns: 40 },
    );
  });
});

async function play(steps: Step[], options: DataLoaderOptions<number, string>): Promise<void> {
  let broken = false;
  let running = 0;
  let most = 0;
  let asked = 0;
  const loader = new DataLoader<number, string>(async (keys) => {
    asked += keys.length;
    running += 1;
    most = Math.max(most, running);
    const fails = broken;
    await turn();
    running -= 1;
    if (fails) throw new Error('broken');
    return keys.map((one) => (one === 3 ? new RangeError('key 3') : `v${one}`));
  }, options);
  const checks: Promise<void>[] = [];
  const leaving: { after: number; controller: AbortController }[] = [];
  let loads = 0;
  for (const now of steps) {
    if (now.do === 'load') {
      loads += 1;
      checks.push(settles(loader.load(now.key), now.key));
    } else if (now.do === 'load and leave') {
      loads += 1;
      const controller = new AbortController();
      leaving.push({ after: now.after, controller });
      checks.push(settles(loader.load(now.key, { signal: controller.signal }), now.key, true));
      if (now.after === 0) controller.abort('left');
    } else if (now.do === 'turn') {
      await turn();
      for (const one of leaving) {
        one.after -= 1;
        if (one.after <= 0) one.controller.abort('left');
      }
    } else if (now.do === 'clear') loader.clear(now.key);
    else if (now.do === 'prime') loader.prime(now.key, `v${now.key}`);
    else if (now.do === 'clear all') loader.clearAll();
    else broken = now.do === 'break';
  }
  await Promise.all(checks);
  const stats = loader.stats();
  expect(stats.loads).toBe(loads);
  expect(stats.keysLoaded).toBe(asked);
  expect(stats.queuedKeys).toBe(0);
  expect(asked).toBeLessThanOrEqual(loads);
  expect(most).toBeLessThanOrEqual(options.maxConcurrentBatches ?? Number.POSITIVE_INFINITY);
  // Nothing that failed, and nothing that was left, stays behind as an answer.
  broken = false;
  await turn();
  for (const one of [0, 1, 2]) await expect(loader.load(one)).resolves.toBe(`v${one}`);
}

async function settles(load: Promise<string>, one: number, mayLeave = false): Promise<void> {
  const result = await load.catch((error: unknown) => error);
  if (result === `v${one}`) return;
  if (mayLeave && result === 'left') return;
  if (one === 3 && result instanceof RangeError) return;
  expect(result).toMatchObject({ message: 'broken' });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
