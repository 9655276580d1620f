import { DataLoader } from '@x/dataloader';
import Upstream from 'dataloader';
import { bench, group, run } from 'mitata';

const sizes = [1, 100, 10_000];
const ours = '@x/dataloader';
const peer = 'graphql/dataloader';
const unordered = `${ours} unordered`;

type AnyLoader = { load(key: number): Promise<number>; clearAll(): unknown };
type Kind = (loader: AnyLoader, count: number) => Promise<unknown>;

const batch = async (keys: readonly number[]): Promise<readonly number[]> => keys;

const make: Record<string, () => AnyLoader> = {
  [ours]: () => new DataLoader<number, number>(batch),
  [peer]: () => new Upstream<number, number>(batch),
  [unordered]: () => new DataLoader<number, number>(batch, { orderedHits: false }),
};

const kinds: Record<string, Kind> = {
  distinct: (loader, count) => {
    loader.clearAll();
    return loadAll(loader, count, (i) => i);
  },
  cached: (loader, count) => loadAll(loader, count, (i) => i),
  'one hot key': (loader, count) => loadAll(loader, count, () => 1),
};

/** Our loader beside the one it replaces: so many loads in one turn, of keys that are new, cached, or the same. */
export async function runDataloaderBench(): Promise<void> {
  for (const [kind, load] of Object.entries(kinds)) {
    for (const count of sizes) {
      const loaders = await Promise.all(
        Object.entries(make)
          .filter(([name]) => kind === 'cached' || name !== unordered)
          .map(async ([name, create]) => {
            const loader = create();
            await loadAll(loader, count, (i) => i);
            return [name, loader] as const;
          }),
      );
      group(() => {
        for (const [name, loader] of loaders) {
          const title = `${kind} x ${count} ${name}`;
          bench(title, () => load(loader, count));
        }
      });
    }
  }
  const { benchmarks } = await run();
  const medians = new Map(benchmarks.map(({ alias, runs: [first] }) => [alias, first?.stats?.p50 ?? Number.NaN]));
  for (const kind of Object.keys(kinds)) {
    for (const count of sizes) {
      const of = (name: string) => medians.get(`${kind} x ${count} ${name}`) ?? Number.NaN;
      const waived = kind === 'cached' ? `, with orderedHits: false ${(of(peer) / of(unordered)).toFixed(2)}` : '';
      console.log(
        `${kind} x ${count}: loads per second, ${ours} / ${peer} = ${(of(peer) / of(ours)).toFixed(2)}${waived}`,
      );
    }
  }
  const [own, other] = [await bytesPerKey(make[ours]), await bytesPerKey(make[peer])];
  console.log(`bytes per cached key right after a batch: ${own} / ${other} = ${(own / other).toFixed(2)}`);
}

function loadAll(loader: AnyLoader, count: number, key: (i: number) => number): Promise<unknown> {
  if (count === 1) return loader.load(key(0));
  const loads: Promise<number>[] = [];
  for (let i = 0; i < count; i++) loads.push(loader.load(key(i)));
  return Promise.all(loads);
}

async function bytesPerKey(create: (() => AnyLoader) | undefined): Promise<number> {
  const count = 100_000;
  const loader = create?.();
  if (loader === undefined) return Number.NaN;
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  await loadAll(loader, count, (i) => i);
  await new Promise((resolve) => setImmediate(resolve));
  globalThis.gc?.();
  const bytes = Math.round((process.memoryUsage().heapUsed - before) / count);
  await loader.load(0);
  return bytes;
}
