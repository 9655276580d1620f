import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { BATSHIT, NO_LOADER, type Order, OURS, type Task, UNORDERED, UPSTREAM } from './dataloader-contender.ts';

const SIZES = [1, 100, 10_000];
const ROUNDS = 31;
/** How long a contender runs in each round, and before the first. */
const ROUND_MS = 25;
const WARM_UP_MS = 400;

interface Kind extends Omit<Task, 'count'> {
  contenders: readonly string[];
}

const CACHING = [OURS, UPSTREAM, UNORDERED, NO_LOADER];

// The last load alone tells nothing of batshit, which resolves each by itself.
const kinds: readonly Kind[] = [
  { keys: 'distinct', awaits: 'all', contenders: [OURS, UPSTREAM, BATSHIT, NO_LOADER] },
  { keys: 'distinct', awaits: 'last', contenders: [OURS, UPSTREAM, NO_LOADER] },
  { keys: 'cached', awaits: 'all', contenders: CACHING },
  { keys: 'cached', awaits: 'last', contenders: CACHING },
  { keys: 'one hot key', awaits: 'all', contenders: CACHING },
  { keys: 'one hot key', awaits: 'last', contenders: CACHING },
];

/** What the ratios of loads per second are to be at least, however the loads are awaited. */
const goals: Record<string, number> = {
  [`distinct x 1, ${OURS} / ${UPSTREAM}`]: 0.85,
  [`distinct x 100, ${OURS} / ${UPSTREAM}`]: 0.85,
  [`distinct x 10000, ${OURS} / ${UPSTREAM}`]: 0.85,
  [`distinct x 1, ${OURS} / ${BATSHIT}`]: 10,
  [`distinct x 100, ${OURS} / ${BATSHIT}`]: 10,
  [`distinct x 10000, ${OURS} / ${BATSHIT}`]: 10,
  [`cached x 1, ${OURS} / ${UPSTREAM}`]: 1,
  [`cached x 100, ${OURS} / ${UPSTREAM}`]: 1,
  [`cached x 10000, ${OURS} / ${UPSTREAM}`]: 1.8,
  [`cached x 1, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`cached x 100, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`cached x 10000, ${UNORDERED} / ${UPSTREAM}`]: 2.5,
  [`one hot key x 10000, ${OURS} / ${UPSTREAM}`]: 5,
};

/**
 * Our loader beside the one it replaces and batshit: so many loads in one turn, of keys that are new, cached, or the same.
 * Each contender has a process of its own, since in a shared heap one's garbage is collected on another's time. They take
 * turns, and of each the lower quartile of its rounds counts: whatever else the machine does disturbs the others.
 *
 * Every kind is measured twice. With `Promise.all` over the loads, as an app does, whose own time is the same for all and
 * most of what the faster ones take; a column without a loader shows how much it is. And with the last load alone awaited,
 * before which all others have settled: that is the loader's own time.
 */
export async function runDataloaderBench(): Promise<void> {
  const contenders = new Map<string, Contender>();
  for (const name of [OURS, UPSTREAM, UNORDERED, BATSHIT, NO_LOADER]) contenders.set(name, new Contender(name));
  for (const kind of kinds) {
    const ratios: number[] = [];
    for (const count of SIZES) ratios.push(await compare(kind, count, contenders));
    if (kind.keys !== 'distinct') continue;
    const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    console.log(
      `distinct, mean of the three, ${OURS} / ${UPSTREAM}, ${AWAITED[kind.awaits]}: ${mean.toFixed(2)} (goal >= 0.95)`,
    );
  }
  const [own = Number.NaN, other = Number.NaN] = await Promise.all(
    [OURS, UPSTREAM].map((name) => bytesPerKey(contenders.get(name) as Contender)),
  );
  console.log(
    `bytes per cached key right after a batch, ${OURS} / ${UPSTREAM}: ${Math.round(own)} / ${Math.round(other)} = ` +
      `${(own / other).toFixed(2)} (goal <= 0.5)`,
  );
  for (const contender of contenders.values()) contender.end();
}

const AWAITED: Record<Task['awaits'], string> = { all: 'all awaited', last: 'last awaited' };

/** Prints what a load takes and how the contenders compare; ours over upstream is what it comes to. */
async function compare(kind: Kind, count: number, contenders: ReadonlyMap<string, Contender>): Promise<number> {
  const { keys, awaits } = kind;
  const measured = kind.contenders.map((name) => contenders.get(name) as Contender);
  for (const contender of measured) {
    await contender.order({ prepare: { keys, awaits, count } });
    await contender.order({ measureMs: WARM_UP_MS });
  }
  const ns = new Map<string, number[]>(kind.contenders.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let turn = 0; turn < measured.length; turn += 1) {
      const contender = measured[(round + turn) % measured.length] as Contender;
      ns.get(contender.name)?.push(await contender.order({ measureMs: ROUND_MS }));
    }
  }
  const typical = new Map([...ns].map(([name, rounds]) => [name, quantile(rounds, 0.25)]));
  const shown = [...typical].map(([name, time]) => `${name} ${Math.round(time)} ns`);
  console.log(`${keys} x ${count}, ${AWAITED[awaits]}, a load: ${shown.join('; ')}`);
  const ratio = (name: string, other: string) => (typical.get(other) ?? Number.NaN) / (typical.get(name) ?? Number.NaN);
  for (const [name, other] of PAIRS) {
    if (!ns.has(name) || !ns.has(other)) continue;
    const goal = goals[`${keys} x ${count}, ${name} / ${other}`];
    const wanted = goal === undefined ? '' : ` (goal >= ${goal})`;
    console.log(
      `  ${keys} x ${count}, ${AWAITED[awaits]}, ${name} / ${other}: ${ratio(name, other).toFixed(2)}${wanted}`,
    );
  }
  return ratio(OURS, UPSTREAM);
}

const PAIRS: readonly [string, string][] = [
  [OURS, UPSTREAM],
  [OURS, BATSHIT],
  [UNORDERED, UPSTREAM],
  // About the most that any loader could come to: the loop and the waiting take time with all of them.
  [NO_LOADER, UPSTREAM],
  [NO_LOADER, BATSHIT],
];

async function bytesPerKey(contender: Contender): Promise<number> {
  const samples: number[] = [];
  for (let sample = 0; sample < 5; sample += 1) samples.push(await contender.order({ bytesOf: 100_000 }));
  return quantile(samples, 0.5);
}

class Contender {
  readonly name: string;
  readonly #process: ChildProcess;

  constructor(name: string) {
    this.name = name;
    this.#process = fork(join(import.meta.dirname, 'dataloader-contender.js'), [name], { execArgv: ['--expose-gc'] });
  }

  async order(order: Order): Promise<number> {
    this.#process.send(order);
    const [answer] = await once(this.#process, 'message');
    return answer as number;
  }

  end(): void {
    this.#process.disconnect();
  }
}

function quantile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}
