import { DataLoader } from '@x/dataloader';
import { create, windowScheduler } from '@yornaath/batshit';
import Upstream from 'dataloader';

type Load = (key: number) => Promise<unknown>;

interface Contender {
  load: Load;
  clearAll: () => unknown;
}

const SIZES = [1, 100, 10_000];
const ROUNDS = 21;
/** How long a contender runs in each round. */
const ROUND_MS = 40;

const OURS = '@x/dataloader';
const UNORDERED = '@x/dataloader, orderedHits: false';
const UPSTREAM = 'graphql/dataloader';
const BATSHIT = 'batshit';

const batch = async (keys: readonly number[]): Promise<readonly number[]> => keys;

const make: Record<string, () => Contender> = {
  [OURS]: () => asContender(new DataLoader<number, number>(batch)),
  [UPSTREAM]: () => asContender(new Upstream<number, number>(batch)),
  [UNORDERED]: () => asContender(new DataLoader<number, number>(batch, { orderedHits: false })),
  // Its resolver looks a key up in a Map: the one it offers searches the array for each key.
  [BATSHIT]: () => {
    const batcher = create({
      fetcher: async (keys: number[]) => new Map(keys.map((key) => [key, key])),
      resolver: (values: Map<number, number>, key: number) => values.get(key),
      scheduler: windowScheduler(0),
    });
    return { load: (key) => batcher.fetch(key), clearAll() {} };
  },
};

interface Kind {
  name: string;
  contenders: readonly string[];
  keyOf: (i: number) => number;
  clears: boolean;
  /** Waits for the last load alone: the others have ended before it. Default: `Promise.all`, which takes its own time. */
  awaitsLast?: boolean;
}

const kinds: readonly Kind[] = [
  { name: 'distinct keys', contenders: [OURS, UPSTREAM, BATSHIT], keyOf: (i) => i, clears: true },
  { name: 'cached keys', contenders: [OURS, UPSTREAM, UNORDERED], keyOf: (i) => i, clears: false },
  { name: 'one hot key', contenders: [OURS, UPSTREAM, UNORDERED], keyOf: () => 1, clears: false },
  {
    name: 'cached keys, last awaited',
    contenders: [OURS, UPSTREAM, UNORDERED],
    keyOf: (i) => i,
    clears: false,
    awaitsLast: true,
  },
  {
    name: 'one hot key, last awaited',
    contenders: [OURS, UPSTREAM, UNORDERED],
    keyOf: () => 1,
    clears: false,
    awaitsLast: true,
  },
];

/** What the ratios of loads per second are to be at least. */
const goals: Record<string, number> = {
  [`distinct keys x 1, ${OURS} / ${UPSTREAM}`]: 0.85,
  [`distinct keys x 100, ${OURS} / ${UPSTREAM}`]: 0.85,
  [`distinct keys x 10000, ${OURS} / ${UPSTREAM}`]: 0.85,
  [`distinct keys x 1, ${OURS} / ${BATSHIT}`]: 10,
  [`distinct keys x 100, ${OURS} / ${BATSHIT}`]: 10,
  [`distinct keys x 10000, ${OURS} / ${BATSHIT}`]: 10,
  [`cached keys x 1, ${OURS} / ${UPSTREAM}`]: 1,
  [`cached keys x 100, ${OURS} / ${UPSTREAM}`]: 1,
  [`cached keys x 10000, ${OURS} / ${UPSTREAM}`]: 1.8,
  [`cached keys x 1, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`cached keys x 100, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`cached keys x 10000, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`one hot key x 10000, ${OURS} / ${UPSTREAM}`]: 5,
  [`cached keys, last awaited x 10000, ${OURS} / ${UPSTREAM}`]: 1.8,
  [`cached keys, last awaited x 100, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`one hot key, last awaited x 10000, ${OURS} / ${UPSTREAM}`]: 5,
};

/**
 * Our loader beside the one it replaces and batshit: so many loads in one turn, of keys that are new, cached, or the same.
 * Rounds are interleaved and the ratio is the median of the rounds' ratios: whatever else the machine does meets all of them.
 * The time that `Promise.all` takes to wait for the loads is part of it; a column without a loader shows how much that is, and
 * loads of which only the last is awaited are measured without it.
 */
export async function runDataloaderBench(): Promise<void> {
  const distinct: number[] = [];
  for (const kind of kinds) {
    for (const count of SIZES) {
      const ns = await measure(kind, count);
      const shown = [...ns].map(([name, rounds]) => `${name} ${Math.round(median(rounds))} ns`);
      console.log(`${kind.name} x ${count}, a load: ${shown.join('; ')}`);
      for (const [name, other] of pairs(kind)) {
        const theirs = ns.get(other) ?? [];
        const ratio = median((ns.get(name) ?? []).map((own, i) => (theirs[i] ?? Number.NaN) / own));
        if (kind.clears && other === UPSTREAM) distinct.push(ratio);
        report(`${kind.name} x ${count}, ${name} / ${other}`, ratio);
      }
    }
  }
  const mean = distinct.reduce((sum, ratio) => sum + ratio, 0) / distinct.length;
  console.log(`distinct keys, mean of the three, ${OURS} / ${UPSTREAM}: ${mean.toFixed(2)} (goal >= 0.95)`);
  const [own, other] = [await bytesPerKey(OURS), await bytesPerKey(UPSTREAM)];
  console.log(
    `bytes per cached key right after a batch, ${OURS} / ${UPSTREAM}: ${own} / ${other} = ${(own / other).toFixed(2)} (goal <= 0.5)`,
  );
}

function pairs({ contenders }: Kind): [string, string][] {
  const peers = contenders
    .filter((name) => name !== OURS && name !== UNORDERED)
    .map((name): [string, string] => [OURS, name]);
  return contenders.includes(UNORDERED) ? [...peers, [UNORDERED, UPSTREAM]] : peers;
}

function report(what: string, ratio: number): void {
  const goal = goals[what];
  console.log(`  ${what}: ${ratio.toFixed(2)}${goal === undefined ? '' : ` (goal >= ${goal})`}`);
}

async function measure(kind: Kind, count: number): Promise<Map<string, number[]>> {
  const contenders = kind.contenders.map((name) => [name, (make[name] as () => Contender)()] as const);
  contenders.push(['(no loader)', { load: (key) => Promise.resolve(key), clearAll() {} }]);
  for (const [, contender] of contenders) await loadAll(contender, count, (i) => i);
  for (const [, contender] of contenders) await nsPerLoad(kind, contender, count, 5 * ROUND_MS);
  const ns = new Map<string, number[]>(contenders.map(([name]) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const [name, contender] = contenders[(round + turn) % contenders.length] as (typeof contenders)[number];
      ns.get(name)?.push(await nsPerLoad(kind, contender, count, ROUND_MS));
    }
  }
  return ns;
}

async function nsPerLoad(kind: Kind, contender: Contender, count: number, ms: number): Promise<number> {
  // Reading the clock after each single load would be most of what is measured.
  const repeats = Math.max(1, Math.round(100 / count));
  const begin = performance.now();
  let loads = 0;
  let now = begin;
  while (now - begin < ms) {
    for (let i = 0; i < repeats; i += 1) {
      if (kind.clears) contender.clearAll();
      await loadAll(contender, count, kind.keyOf, kind.awaitsLast);
    }
    loads += repeats * count;
    now = performance.now();
  }
  return ((now - begin) * 1e6) / loads;
}

function loadAll(
  { load }: Contender,
  count: number,
  keyOf: (i: number) => number,
  awaitsLast = false,
): Promise<unknown> {
  if (count === 1 || awaitsLast) {
    for (let i = 0; i < count - 1; i += 1) void load(keyOf(i));
    return load(keyOf(count - 1));
  }
  const loads: Promise<unknown>[] = [];
  for (let i = 0; i < count; i += 1) loads.push(load(keyOf(i)));
  return Promise.all(loads);
}

async function bytesPerKey(name: string): Promise<number> {
  const count = 100_000;
  const samples: number[] = [];
  for (let sample = 0; sample < 5; sample += 1) {
    const contender = make[name]?.() as Contender;
    await contender.load(-1);
    await collectGarbage();
    const before = process.memoryUsage().heapUsed;
    await loadAll(contender, count, (i) => i);
    await collectGarbage();
    samples.push(Math.round((process.memoryUsage().heapUsed - before) / count));
    // Still in use here: what it holds has been counted.
    contender.clearAll();
  }
  return median(samples);
}

async function collectGarbage(): Promise<void> {
  for (let i = 0; i < 3; i += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function asContender(loader: { load(key: number): Promise<number>; clearAll(): unknown }): Contender {
  return { load: (key) => loader.load(key), clearAll: () => loader.clearAll() };
}
