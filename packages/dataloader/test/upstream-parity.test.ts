import { DataLoader } from '@x/dataloader';
import Upstream from 'dataloader';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

describe('code written for graphql/dataloader', () => {
  it('does the same after the import has been changed', async () => {
    const before = await import('./written-for-upstream/code.ts');
    const theirs = await before.run();
    vi.resetModules();
    vi.doMock('dataloader', () => import('@x/dataloader'));
    const after = await import('./written-for-upstream/code.ts');
    const ours = await after.run();
    expect(theirs.length).toBeGreaterThan(40);
    expect(ours).toEqual(theirs);
  });
});

type Step =
  | { do: 'load'; key: number; next: number | undefined }
  | { do: 'loadMany'; keys: number[] }
  | { do: 'prime'; key: number; as: 'value' | 'error' | 'promise' }
  | { do: 'clear'; key: number }
  | { do: 'settle' | 'fail'; batch: number }
  | { do: 'clear all' | 'turn' | 'promises' };

const key = fc.nat(5);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('load' as const), key, next: fc.option(key, { nil: undefined }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('loadMany' as const), keys: fc.array(key, { maxLength: 5 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('prime' as const),
      key,
      as: fc.constantFrom('value' as const, 'error' as const, 'promise' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('clear' as const), key }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('settle' as const, 'fail' as const), batch: fc.nat(3) }) },
  {
    weight: 4,
    arbitrary: fc.constantFrom<Step>({ do: 'turn' }, { do: 'turn' }, { do: 'promises' }, { do: 'clear all' }),
  },
);

interface Options {
  maxBatchSize?: number;
  cache?: boolean;
  cacheMap?: Map<number, Promise<string>>;
  cacheKeyFn?: (key: number) => number;
}

// A batch that fails evicts in both only what it put there itself: upstream's eviction of newer values is a defect
// (a test of its own has it), so the plays below clear or prime nothing that a batch still loads.
describe.each<[string, () => Options]>([
  ['no options', () => ({})],
  ['small batches', () => ({ maxBatchSize: 2 })],
  ['no cache', () => ({ cache: false })],
  ['a cacheMap', () => ({ cacheMap: new Map() })],
  ['keys that mean the same', () => ({ cacheKeyFn: (one) => one % 3 })],
])('any interleaving, beside graphql/dataloader, with %s', (_name, options) => {
  it('makes the same batches, at the same times, and settles everything in the same turn with the same outcome', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), async (steps) => {
        expect(await play(DataLoader, steps, options())).toEqual(await play(Upstream, steps, options()));
      }),
      { numRuns: 100 },
    );
  });
});

async function play(Loader: typeof Upstream | typeof DataLoader, steps: Step[], options: Options): Promise<unknown[]> {
  const log: unknown[] = [];
  const calls: {
    keys: readonly number[];
    settled: boolean;
    resolve: (v: (string | Error)[]) => void;
    reject: (e: Error) => void;
  }[] = [];
  const loading = (one: number) => calls.some((call) => !call.settled && call.keys.some((k) => same(k, one)));
  const same = (a: number, b: number) => (options.cacheKeyFn?.(a) ?? a) === (options.cacheKeyFn?.(b) ?? b);
  let turns = 0;
  let loads = 0;
  // What settles in one turn is compared without order, and so are the keys that are loaded next: hits of settled keys come a
  // few promise callbacks earlier than upstream's. Where the order decides which keys are asked for together, nothing is loaded next.
  const outcomes: string[][] = [];
  const orderIsFree = options.maxBatchSize === undefined && options.cacheKeyFn === undefined;
  const watch = (promise: Promise<unknown>, next?: number, id = String(++loads)) => {
    const tell = (what: unknown) => {
      outcomes[turns] ??= [];
      outcomes[turns]?.push(`${id} ${String(what)}`);
      if (next !== undefined && orderIsFree) watch(loader.load(next), undefined, `${id} next`);
    };
    promise.then(tell, tell);
  };
  const loader = new (Loader as typeof Upstream)<number, string>((keys) => {
    log.push({ turns, keys: [...keys].sort() });
    return new Promise((resolve, reject) => calls.push({ keys: [...keys], settled: false, resolve, reject }));
  }, options as object);
  const turn = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    turns += 1;
  };
  const settle = (at: number, fails: boolean) => {
    const open = calls.filter((call) => !call.settled);
    const call = open[at % Math.max(1, open.length)];
    if (call === undefined) return;
    call.settled = true;
    if (fails) call.reject(new Error(`batch ${calls.indexOf(call)}`));
    else call.resolve(call.keys.map((one) => (one === 5 ? new RangeError('five') : `v${one}`)));
  };
  for (const now of steps) {
    if (now.do === 'load') watch(loader.load(now.key), now.next);
    else if (now.do === 'loadMany') watch(loader.loadMany(now.keys).then((values) => values.map(String)));
    else if (now.do === 'prime') {
      const values = {
        value: `p${now.key}`,
        error: new Error(`p${now.key}`),
        promise: Promise.resolve(`pp${now.key}`),
      };
      if (!loading(now.key)) loader.prime(now.key, values[now.as]);
    } else if (now.do === 'clear') {
      await turn();
      if (!loading(now.key)) loader.clear(now.key);
    } else if (now.do === 'clear all') {
      await turn();
      if (calls.every((call) => call.settled)) loader.clearAll();
    } else if (now.do === 'turn') await turn();
    else if (now.do === 'promises') for (let i = 0; i < 5; i += 1) await Promise.resolve();
    else if (now.do === 'settle') settle(now.batch, false);
    else if (now.do === 'fail') {
      // A failure is known, and nothing of it kept, a promise callback earlier than upstream: what settles in the same turn before
      // it, and loads one of its keys next, gets the failed load there and loads anew here.
      await turn();
      settle(now.batch, true);
    }
  }
  for (let left = 0; left < 200; left += 1) {
    await turn();
    settle(0, false);
  }
  await turn();
  for (const one of outcomes) one?.sort();
  return [log, outcomes, calls.every((call) => call.settled)];
}
