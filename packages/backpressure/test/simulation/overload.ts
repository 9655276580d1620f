import { ConcurrencyLimiter, type ConcurrencyLimiterOptions, type Priority } from '@x/backpressure';
import { VirtualClock } from './virtual-clock.ts';

export interface Scenario {
  /** Offered load as a multiple of capacity, by time in milliseconds. */
  load: (now: number) => number;
  /** Mean service time in milliseconds, by time. Default 10. */
  serviceMs?: (now: number) => number;
  endMs: number;
  /** From when on results count. */
  fromMs: number;
  /** Default all `'default'`. */
  priority?: (n: number) => Priority;
}

export interface Outcome {
  /** Calls that were answered within their deadline, and calls offered, while results counted. */
  good: number;
  offered: number;
  goodBy: Record<Priority, number>;
  offeredBy: Record<Priority, number>;
  /** `good` for each second. */
  goodPerSecond: number[];
  offeredPerSecond: number[];
  limit: number;
}

const workers = 10;
const deadlineMs = 100;
/** Calls a second that the service can do at 10 ms each. */
export const capacity = 1_000;

/** Poisson arrivals at a service of ten workers with exponential service times and a queue of its own, behind a limiter. */
export async function simulate(
  limit: ConcurrencyLimiterOptions['limit'],
  scenario: Scenario,
  seed: number,
  options: Partial<ConcurrencyLimiterOptions> = {},
): Promise<Outcome> {
  const clock = new VirtualClock();
  const random = mulberry32(seed);
  const limiter = new ConcurrencyLimiter({ limit, clock, random, ...options });
  const { serviceMs = () => 10 } = scenario;

  let busy = 0;
  const waiting: (() => void)[] = [];
  const begin = (): void => {
    const next = waiting.shift();
    if (next === undefined) return;
    busy++;
    clock.setTimeout(
      () => {
        busy--;
        next();
        begin();
      },
      -Math.log(1 - random()) * serviceMs(clock.now()),
    );
  };
  const serve = (): Promise<void> =>
    new Promise((resolve) => {
      waiting.push(resolve);
      if (busy < workers) begin();
    });

  const seconds = Math.ceil(scenario.endMs / 1_000);
  const outcome: Outcome = {
    good: 0,
    offered: 0,
    goodBy: { critical: 0, default: 0, sheddable: 0 },
    offeredBy: { critical: 0, default: 0, sheddable: 0 },
    goodPerSecond: new Array<number>(seconds).fill(0),
    offeredPerSecond: new Array<number>(seconds).fill(0),
    limit: 0,
  };
  let n = 0;
  const arrive = (): void => {
    const at = clock.now();
    const counts = at >= scenario.fromMs;
    const second = Math.floor(at / 1_000);
    const priority = scenario.priority?.(n++) ?? 'default';
    outcome.offeredPerSecond[second]!++;
    if (counts) {
      outcome.offered++;
      outcome.offeredBy[priority]++;
    }
    limiter.run(serve, { deadlineMs, priority }).then(
      () => {
        if (clock.now() - at > deadlineMs) return;
        outcome.goodPerSecond[second]!++;
        if (counts) {
          outcome.good++;
          outcome.goodBy[priority]++;
        }
      },
      () => {},
    );
    const next = (-Math.log(1 - random()) * 1_000) / (capacity * scenario.load(at));
    if (at + next < scenario.endMs) clock.setTimeout(arrive, next);
  };
  clock.setTimeout(arrive, 0);
  await clock.runUntil(scenario.endMs + deadlineMs);
  outcome.limit = limiter.limit;
  return outcome;
}

/** A small seeded generator (Tommy Ettinger's mulberry32). */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
