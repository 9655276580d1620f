import { VirtualClock } from './virtual-clock.ts';

/** How the calls come in, what serves them, and from when on it counts. */
export interface OverloadScenario {
  /** How many calls the service works on at once; the others wait inside it, first come, first served. Default 10. */
  workers?: number;
  /** How long one call takes, in milliseconds. Default exponential with a mean of 10. */
  service?: ServiceTime;
  /** The offered load as a multiple of the capacity, by time in milliseconds. */
  load: (now: number) => number;
  /** How many times longer than usual calls take, by time. Default 1. */
  slowness?: (now: number) => number;
  /** After so many milliseconds an answer is worth nothing; the work is still done to its end. Default 100. */
  deadlineMs?: number;
  /** Share of the calls that is critical; the others are sheddable. Default: all are default. */
  criticalShare?: number;
  /** From when on calls count, and until when they come, in milliseconds. */
  fromMs: number;
  endMs: number;
  seed: number;
}

export interface ServiceTime {
  meanMs: number;
  draw: (random: () => number) => number;
}

export interface OverloadOutcome {
  /** Calls a second that the service can do at its usual pace. */
  capacity: number;
  offered: number;
  /** Calls answered within their deadline. */
  good: number;
  offeredCritical: number;
  goodCritical: number;
  /** By the second in which calls came, from the beginning. */
  offeredPerSecond: number[];
  goodPerSecond: number[];
}

/** What stands between the callers and the service: it runs `work` when it likes, or rejects. */
export type Admission = (
  work: () => Promise<void>,
  call: { deadlineMs: number; priority: 'critical' | 'default' | 'sheddable' },
) => Promise<unknown>;

/** Poisson arrivals at a service of some workers, behind what `admit` makes; discrete events on a virtual clock, the same for the same seed. */
export async function simulateOverload(
  admit: (surroundings: { clock: VirtualClock; random: () => number }) => Admission,
  scenario: OverloadScenario,
): Promise<OverloadOutcome> {
  const { workers = 10, service = serviceTimes.exponential, load, slowness = () => 1, deadlineMs = 100 } = scenario;
  const { criticalShare, fromMs, endMs, seed } = scenario;
  const clock = new VirtualClock();
  const admission = admit({ clock, random: seededRandom(seed + 1) });
  // Apart, so that the same calls come to every admission.
  const arrivals = seededRandom(seed + 2);
  const serve = serviceOf(workers, clock, slowness);
  const capacity = (workers * 1_000) / service.meanMs;

  const seconds = Math.ceil(endMs / 1_000);
  const outcome: OverloadOutcome = {
    capacity,
    offered: 0,
    good: 0,
    offeredCritical: 0,
    goodCritical: 0,
    offeredPerSecond: new Array<number>(seconds).fill(0),
    goodPerSecond: new Array<number>(seconds).fill(0),
  };
  const count = (at: number, critical: boolean, per: number[], all: 'offered' | 'good'): void => {
    const second = Math.floor(at / 1_000);
    per[second] = (per[second] ?? 0) + 1;
    if (at < fromMs) return;
    outcome[all]++;
    if (critical) outcome[`${all}Critical`]++;
  };
  const arrive = (): void => {
    const at = clock.now();
    const critical = criticalShare !== undefined && arrivals() < criticalShare;
    const priority = criticalShare === undefined ? 'default' : critical ? 'critical' : 'sheddable';
    const takes = service.draw(arrivals);
    count(at, critical, outcome.offeredPerSecond, 'offered');
    admission(() => serve(takes), { deadlineMs, priority }).then(
      () => {
        if (clock.now() - at <= deadlineMs) count(at, critical, outcome.goodPerSecond, 'good');
      },
      () => {},
    );
    const gapMs = (-Math.log(1 - arrivals()) * 1_000) / (capacity * load(at));
    if (at + gapMs < endMs) clock.setTimeout(arrive, gapMs);
  };
  clock.setTimeout(arrive, 0);
  await clock.runUntil(endMs + deadlineMs);
  return outcome;
}

/** Distributions of service times, with a mean of 10 ms except for `bimodal`: 99 calls of 5 ms and one of 2 s. */
export const serviceTimes: Readonly<Record<'constant' | 'exponential' | 'lognormal' | 'bimodal', ServiceTime>> = {
  constant: { meanMs: 10, draw: () => 10 },
  exponential: { meanMs: 10, draw: (random) => -Math.log(1 - random()) * 10 },
  lognormal: { meanMs: 10, draw: (random) => 10 * Math.exp(normal(random) - 0.5) },
  bimodal: { meanMs: 0.99 * 5 + 0.01 * 2_000, draw: (random) => (random() < 0.01 ? 2_000 : 5) },
};

/** Works on `workers` calls at once; the others wait in order. A call knows how long it takes at the usual pace. */
function serviceOf(workers: number, clock: VirtualClock, slowness: (now: number) => number) {
  const waiting: { takesMs: number; done: () => void }[] = [];
  let next = 0;
  let busy = 0;
  const begin = (): void => {
    const call = waiting[next];
    if (busy === workers || call === undefined) return;
    // Taken off in large pieces, since an array shifts all that follows.
    next++;
    if (next === 1_024) {
      waiting.splice(0, next);
      next = 0;
    }
    busy++;
    clock.setTimeout(() => {
      busy--;
      call.done();
      begin();
    }, call.takesMs * slowness(clock.now()));
  };
  return (takesMs: number): Promise<void> =>
    new Promise((done) => {
      waiting.push({ takesMs, done });
      begin();
    });
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A small seeded generator (Tommy Ettinger's mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
