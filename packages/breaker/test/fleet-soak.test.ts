import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { type Fault, faultsOf } from './fleet/faults.ts';
import { Fleet, SETTINGS } from './fleet/fleet.ts';

// In CI a few rounds; `pnpm soak` sets the time, and where the report goes.
const seconds = Number(process.env.SOAK_SECONDS ?? 8);
const report = process.env.SOAK_REPORT;
const seed = Number(process.env.SOAK_SEED ?? 1);

/** A fleet is closed again so long after the last fault, however they came together. Reconnection, an open period and a lease are in it. */
const WELL_AGAIN_MS = 15_000;

test(
  `a fleet under random faults keeps to its promises (${seconds} s, seed ${seed})`,
  async () => {
    await using fleet = await Fleet.start(4);
    const { pick, between } = chance(seed);
    const faults = faultsOf(fleet, pick);
    const struck = new Map<string, number>();
    const broken: string[] = [];
    const recoveriesMs: number[] = [];
    const spreadsMs: number[] = [];
    let apart = false;
    fleet.dependency.onSeveralProbes = (inFlight) => {
      if (!apart) broken.push(`${inFlight} probes at a time though all could agree`);
      if (inFlight > fleet.size) broken.push(`${inFlight} probes at a time of ${fleet.size} processes`);
    };
    const endAt = performance.now() + seconds * 1_000;
    for (let round = 1; performance.now() < endAt && broken.length === 0; round += 1) {
      await quiet(fleet);
      apart = false;
      const from = fleet.changes.length;
      const lift: (() => Promise<void>)[] = [];
      for (let n = 1 + pick(3); n > 0; n -= 1) {
        const fault = faults[pick(faults.length)] as Fault;
        if (lift.length > 0 && /Redis (hangs|is killed)|process (is killed|gets)/.test(fault.name)) continue;
        apart ||= fault.apart;
        struck.set(fault.name, (struck.get(fault.name) ?? 0) + 1);
        lift.push(await fault.strike());
        await new Promise((resolve) => setTimeout(resolve, between(50, 900)));
      }
      if (!apart) spreadsMs.push(...spreads(fleet, from));
      for (const undo of lift) await undo();
      const liftedAt = performance.now();
      fleet.dependency.health = 'well';
      fleet.dependency.failsFor.clear();
      await fleet.all('closed', WELL_AGAIN_MS).catch((error: Error) => broken.push(`round ${round}: ${error.message}`));
      recoveriesMs.push(performance.now() - liftedAt);
    }
    const stats = await fleet.stats();
    const page = [
      '# Soak of @x/breaker',
      '',
      `Four processes share one circuit over a real Redis and make ${(4 * 1_000) / SETTINGS.callEveryMs} calls a second to one dependency, while faults strike at random`,
      `(\`pnpm --filter @x/breaker soak\`; ${seconds} s, seed ${seed}, ${recoveriesMs.length} rounds).`,
      '',
      '| fault | times |',
      '|---|---|',
      ...[...struck].sort().map(([name, times]) => `| ${name} | ${times} |`),
      '',
      '| | |',
      '|---|---|',
      `| promises broken | ${broken.length === 0 ? 'none' : broken.join('; ')} |`,
      `| changes of state | ${fleet.changes.length} |`,
      `| calls that reached the dependency, probes among them | ${fleet.dependency.calls}, ${fleet.dependency.probes} |`,
      `| closed everywhere after the last fault was lifted, median and longest | ${summary(recoveriesMs)} |`,
      `| known to all after the first process opened, while nobody was cut off, median and longest | ${summary(spreadsMs)} |`,
      `| longest refusal, by the processes that lived to the end | ${Math.max(...stats.map((one) => one.longestRefusalMs)).toFixed(1)} ms |`,
      '',
      'Promises: never two probes at a time while all processes could reach Redis in time; never more than one for each process; closed everywhere',
      `within ${WELL_AGAIN_MS / 1_000} s of the last fault; no process ends by itself.`,
      '',
    ].join('\n');
    if (report !== undefined) {
      const file = join(import.meta.dirname, '..', report);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, page);
    } else console.log(page);
    expect(broken).toEqual([]);
    expect(recoveriesMs.length).toBeGreaterThan(0);
  },
  (seconds + 120) * 1_000,
);

/** All is well, Redis answers everybody, and nobody still acts on what it saw while it did not. */
async function quiet(fleet: Fleet): Promise<void> {
  const calm = async () => (await fleet.stats()).every(({ available, state }) => available && state === 'closed');
  let since = performance.now();
  await fleet.until(async () => {
    if (!(await calm())) since = performance.now();
    return performance.now() - since > 600;
  }, 'quiet');
}

/** How long it took from the first process that opened a circuit by itself until the last one of the fleet had opened too. */
function spreads(fleet: Fleet, from: number): number[] {
  const opened = fleet.changes.slice(from).filter(({ from: before, to }) => before === 'closed' && to === 'open');
  const members = new Set(opened.map(({ member }) => member));
  if (members.size < fleet.size) return [];
  const times = opened.slice(0, fleet.size).map(({ at }) => at);
  return [Math.max(...times) - Math.min(...times)];
}

function summary(ms: readonly number[]): string {
  const sorted = [...ms].sort((a, b) => a - b);
  const show = (value: number | undefined) => `${Math.round(value ?? Number.NaN)} ms`;
  return sorted.length === 0 ? 'did not happen' : `${show(sorted[sorted.length >> 1])}, ${show(sorted.at(-1))}`;
}

/** Mulberry32: the same run for the same seed, as far as timing allows. */
function chance(start: number): { pick: (below: number) => number; between: (low: number, high: number) => number } {
  let state = start >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    pick: (below) => Math.floor(next() * below),
    between: (low, high) => low + next() * (high - low),
  };
}
