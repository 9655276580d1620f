// One contender of dataloader.bench.ts, in a process of its own: what it allocates is collected on its own time, and the
// JIT has seen no other.
import { DataLoader } from '@x/dataloader';
import { create, keyResolver, windowScheduler } from '@yornaath/batshit';
import Upstream from 'dataloader';

export const OURS = '@x/dataloader';
export const UNORDERED = '@x/dataloader, orderedHits: false';
export const UPSTREAM = 'graphql/dataloader';
export const BATSHIT = 'batshit';
/** As its own page has it: rows, in which each load looks for its own. */
export const BATSHIT_ROWS = 'batshit, keyResolver';
/** What the loop and the waiting take by themselves. */
export const NO_LOADER = '(no loader)';

/** What a contender is asked to do: so many loads in one turn, again and again. */
export interface Task {
  count: number;
  /** New keys each time, keys that are cached, or one of these only. */
  keys: 'distinct' | 'cached' | 'one hot key';
  /** `'all'`: with `Promise.all`, as an app does. `'last'`: the last alone; the others have settled before it. */
  awaits: 'all' | 'last';
}

/** Prepare for a task; measure what was prepared for so many milliseconds; measure bytes per cached key. */
export type Order = { prepare: Task } | { measureMs: number } | { bytesOf: number };

interface Contender {
  load: (key: number) => Promise<unknown>;
  clearAll: () => unknown;
}

const batch = async (keys: readonly number[]): Promise<readonly number[]> => keys;

const make: Record<string, () => Contender> = {
  [OURS]: () => asContender(new DataLoader<number, number>(batch)),
  [UPSTREAM]: () => asContender(new Upstream<number, number>(batch)),
  [UNORDERED]: () => asContender(new DataLoader<number, number>(batch, { orderedHits: false })),
  // At its best: its resolver looks a key up in a Map, where the one that it offers searches the array for each key.
  [BATSHIT]: () => {
    const batcher = create({
      fetcher: async (keys: number[]) => new Map(keys.map((key) => [key, key])),
      resolver: (values: Map<number, number>, key: number) => values.get(key),
      scheduler: windowScheduler(0),
    });
    return { load: (key) => batcher.fetch(key), clearAll() {} };
  },
  [BATSHIT_ROWS]: () => {
    const rows: { id: number }[] = [];
    const batcher = create({
      fetcher: async (keys: number[]) =>
        keys.map((id) => {
          rows[id] ??= { id };
          return rows[id];
        }),
      resolver: keyResolver('id'),
      scheduler: windowScheduler(0),
    });
    return { load: (key) => batcher.fetch(key), clearAll() {} };
  },
  [NO_LOADER]: () => ({ load: (key) => Promise.resolve(key), clearAll() {} }),
};

function asContender(loader: { load(key: number): Promise<number>; clearAll(): unknown }): Contender {
  return { load: (key) => loader.load(key), clearAll: () => loader.clearAll() };
}

const name = process.argv[2];
if (name !== undefined && process.send !== undefined) serve(make[name] as () => Contender);

function serve(makeOne: () => Contender): void {
  let contender: Contender | undefined;
  let task: Task | undefined;
  const obey = async (order: Order): Promise<number> => {
    if ('bytesOf' in order) return bytesPerKey(makeOne, order.bytesOf);
    if ('prepare' in order) {
      task = order.prepare;
      contender = makeOne();
      await loadAll(contender, { ...task, keys: 'distinct' });
      return 0;
    }
    return nsPerLoad(contender as Contender, task as Task, order.measureMs);
  };
  process.on('message', async (order: Order) => process.send?.(await obey(order)));
  process.on('disconnect', () => process.exit(0));
}

async function nsPerLoad(contender: Contender, task: Task, ms: number): Promise<number> {
  // Reading the clock after each single load would be most of what is measured.
  const repeats = Math.max(1, Math.round(100 / task.count));
  const begin = performance.now();
  let loads = 0;
  let now = begin;
  while (now - begin < ms) {
    for (let i = 0; i < repeats; i += 1) {
      if (task.keys === 'distinct') contender.clearAll();
      await loadAll(contender, task);
    }
    loads += repeats * task.count;
    now = performance.now();
  }
  return ((now - begin) * 1e6) / loads;
}

function loadAll({ load }: Contender, { count, keys, awaits }: Task): Promise<unknown> {
  const step = keys === 'one hot key' ? 0 : 1;
  if (count === 1 || awaits === 'last') {
    for (let i = 0; i < count - 1; i += 1) void load(i * step);
    return load((count - 1) * step);
  }
  const loads: Promise<unknown>[] = [];
  for (let i = 0; i < count; i += 1) loads.push(load(i * step));
  return Promise.all(loads);
}

/** Right after a batch: nothing has been loaded since. */
async function bytesPerKey(makeOne: () => Contender, count: number): Promise<number> {
  const contender = makeOne();
  await contender.load(-1);
  await collectGarbage();
  const before = process.memoryUsage().heapUsed;
  await loadAll(contender, { count, keys: 'distinct', awaits: 'all' });
  await collectGarbage();
  const bytes = (process.memoryUsage().heapUsed - before) / count;
  // Still in use here: what it holds has been counted.
  contender.clearAll();
  return bytes;
}

async function collectGarbage(): Promise<void> {
  for (let i = 0; i < 3; i += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
}
