import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import {
  BATSHIT,
  BATSHIT_ROWS,
  NO_LOADER,
  type Order,
  OURS,
  type Task,
  UNORDERED,
  UPSTREAM,
} from './dataloader-contender.ts';

const SIZES = [1, 100, 10_000];
/** So many processes of each contender, one after the other, and rounds in each. */
const PROCESSES = 3;
const ROUNDS = 7;
/** How long a contender runs in each half of a round, and before the first. */
const HALF_ROUND_MS = 12;
const WARM_UP_MS = 200;

interface Kind extends Omit<Task, 'count'> {
  contenders: readonly string[];
}

const CACHING = [OURS, UPSTREAM, UNORDERED, NO_LOADER];

const kinds: readonly Kind[] = [
  { keys: 'distinct', awaits: 'all', contenders: [OURS, UPSTREAM, BATSHIT, BATSHIT_ROWS, NO_LOADER] },
  { keys: 'distinct', awaits: 'last', contenders: [OURS, UPSTREAM, BATSHIT, BATSHIT_ROWS, NO_LOADER] },
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
 * Our loader beside the one it replaces and batshit: so many loads in one turn, of keys that are new, cached, or the same. In
 * each round all contenders run once in turn and once in the reverse order, so that a machine that becomes slower or
 * faster meanwhile is so for all; a ratio is the median over the rounds, shown with its quartiles. Each contender has a
 * process of its own, since in a shared heap one's garbage is collected on another's time, and new ones for each row: what
 * V8 has learned of one row (it may go on to allocate where that one's objects lived long) is not carried into the next.
 *
 * Every kind is measured twice. With `Promise.all` over the loads, as an app does, whose own time is the same for all and
 * most of what the faster ones take; a column without a loader shows how much it is. And with the last load alone awaited,
 * before which all others have settled: that is the loader's own time.
 */
export async function runDataloaderBench(): Promise<void> {
  for (const kind of kinds) {
    const ratios: number[] = [];
    for (const count of SIZES) ratios.push(await compare(kind, count));
    if (kind.keys !== 'distinct') continue;
    const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    console.log(
      `distinct, mean of the three, ${OURS} / ${UPSTREAM}, ${AWAITED[kind.awaits]}: ${mean.toFixed(2)} (goal >= 0.95)`,
    );
  }
  const [own = Number.NaN, other = Number.NaN] = await Promise.all(
    [OURS, UPSTREAM].map((name) => bytesPerKey(new Contender(name))),
  );
  console.log(
    `bytes per cached key right after a batch, ${OURS} / ${UPSTREAM}: ${Math.round(own)} / ${Math.round(other)} = ` +
      `${(own / other).toFixed(2)} (goal <= 0.5)`,
  );
}

const AWAITED: Record<Task['awaits'], string> = { all: 'all awaited', last: 'last awaited' };

/** Prints what a load takes and how the contenders compare; ours over upstream is what it comes to. */
async function compare(kind: Kind, count: number): Promise<number> {
  const { keys, awaits } = kind;
  const ns = new Map<string, number[]>(kind.contenders.map((name) => [name, []]));
  for (let run = 0; run < PROCESSES; run += 1) await measure(kind, count, ns);
  const shown = [...ns].map(([name, rounds]) => `${name} ${Math.round(quantile(rounds, 0.5))} ns`);
  console.log(`${keys} x ${count}, ${AWAITED[awaits]}, a load: ${shown.join('; ')}`);
  for (const [name, other] of PAIRS) {
    if (!ns.has(name) || !ns.has(other)) continue;
    const ratios = ratiosOf(ns, name, other);
    const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(ratios, share).toFixed(2));
    const goal = goals[`${keys} x ${count}, ${name} / ${other}`];
    const wanted = goal === undefined ? '' : ` (goal >= ${goal})`;
    console.log(`  ${keys} x ${count}, ${AWAITED[awaits]}, ${name} / ${other}: ${middle} [${low} to ${high}]${wanted}`);
  }
  return quantile(ratiosOf(ns, OURS, UPSTREAM), 0.5);
}

/** Adds each contender's nanoseconds a load in each round. */
async function measure({ keys, awaits, contenders }: Kind, count: number, ns: Map<string, number[]>): Promise<void> {
  const measured = contenders.map((name) => new Contender(name));
  for (const contender of measured) {
    await contender.order({ prepare: { keys, awaits, count } });
    await contender.order({ measureMs: WARM_UP_MS });
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const inTurn = measured.map((_, turn) => measured[(round + turn) % measured.length] as Contender);
    const halves = new Map<string, number>();
    for (const contender of [...inTurn, ...inTurn.toReversed()]) {
      const half = (await contender.order({ measureMs: HALF_ROUND_MS })) / 2;
      halves.set(contender.name, (halves.get(contender.name) ?? 0) + half);
    }
    for (const [name, time] of halves) ns.get(name)?.push(time);
  }
  for (const contender of measured) contender.end();
}

/** Loads per second as a ratio, round by round. */
function ratiosOf(ns: ReadonlyMap<string, readonly number[]>, name: string, other: string): number[] {
  const others = ns.get(other) ?? [];
  return (ns.get(name) ?? []).map((time, round) => (others[round] ?? Number.NaN) / time);
}

const PAIRS: readonly [string, string][] = [
  [OURS, UPSTREAM],
  [OURS, BATSHIT],
  [OURS, BATSHIT_ROWS],
  [UNORDERED, UPSTREAM],
  // About the most that any loader could come to: the loop and the waiting take time with all of them.
  [NO_LOADER, UPSTREAM],
  [NO_LOADER, BATSHIT],
];

async function bytesPerKey(contender: Contender): Promise<number> {
  const samples: number[] = [];
  for (let sample = 0; sample < 5; sample += 1) samples.push(await contender.order({ bytesOf: 100_000 }));
  contender.end();
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
