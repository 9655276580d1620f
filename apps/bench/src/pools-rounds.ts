/** The peers of a kind by name; each gives one round trip. */
export type Contenders = Record<string, () => Promise<unknown>>;

export interface Measured {
  wallUs: number;
  cpuUs: number;
}

/** What is to hold between two contenders: how much more of the first is done in the same time. */
export interface Goal {
  of: string;
  beside: string;
  atLeast: number;
}

/**
 * The contenders take turns in short rounds, each round in another order, not one after the other as in mitata: a network
 * round trip is at the mercy of what else the machine does, and so that falls on all of them alike.
 */
export class Rounds {
  readonly #samples = new Map<string, Measured[]>();

  static async run(contenders: Contenders, callers: number, rounds = 41, callsInRound = 400): Promise<Rounds> {
    const result = new Rounds();
    const all = Object.entries(contenders);
    for (const [name] of all) result.#samples.set(name, []);
    for (let round = -4; round < rounds; round++) {
      for (let n = 0; n < all.length; n++) {
        const [name, call] = all[(n + round + all.length * 4) % all.length] as [string, () => Promise<unknown>];
        const cpu = process.cpuUsage();
        const start = performance.now();
        await roundTrips(callers, callsInRound, call);
        const wallUs = ((performance.now() - start) * 1_000) / callsInRound;
        const { user, system } = process.cpuUsage(cpu);
        if (round >= 0) result.#samples.get(name)?.push({ wallUs, cpuUs: (user + system) / callsInRound });
      }
    }
    return result;
  }

  /** The median over the rounds of how much faster one was than the other in the same round. */
  ratio(of: string, beside: string): number {
    const others = this.#samples.get(beside) ?? [];
    return median((this.#samples.get(of) ?? []).map(({ wallUs }, round) => (others[round]?.wallUs ?? 0) / wallUs));
  }

  report(label: string, goals: readonly Goal[]): void {
    for (const [name, samples] of this.#samples) {
      const perSecond = 1e6 / median(samples.map(({ wallUs }) => wallUs));
      console.log(
        `${label}: ${name} ${perSecond.toFixed(0)} per second, ${median(samples.map(({ cpuUs }) => cpuUs)).toFixed(0)} us of CPU`,
      );
    }
    for (const { of, beside, atLeast } of goals)
      verdict(`${label}: ${of} / ${beside}`, this.ratio(of, beside), 'at least', atLeast);
  }
}

/** Prints a ratio beside its goal. */
export function verdict(label: string, got: number, bound: 'at least' | 'at most', goal: number): void {
  const met = bound === 'at least' ? got >= goal : got <= goal;
  console.log(`${label} = ${got.toFixed(2)} (goal: ${bound} ${goal}) ${met ? 'met' : 'MISSED'}`);
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

async function roundTrips(callers: number, calls: number, call: () => Promise<unknown>): Promise<void> {
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let n = 0; n < calls / callers; n++) await call();
    }),
  );
}
