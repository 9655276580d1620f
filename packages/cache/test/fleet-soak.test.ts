import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { type Fault, faultsOf } from './fleet/faults.ts';
import { Fleet, SETTINGS } from './fleet/fleet.ts';
import { Floors } from './fleet/floors.ts';
import { OutsideWriter } from './fleet/outside-writer.ts';
import { Stampedes } from './fleet/stampedes.ts';

// In CI a few rounds; `pnpm soak` sets the time, and where the report goes.
const seconds = Number(process.env.SOAK_SECONDS ?? 6);
const report = process.env.SOAK_REPORT;
const seed = Number(process.env.SOAK_SEED ?? 1);
const KEYS = 40;
const MEMBERS = 4;

test(
  `no process serves as fresh what was invalidated longer ago than is promised (${seconds} s, seed ${seed})`,
  async () => {
    await using fleet = await Fleet.start(MEMBERS);
    const { pick, between } = chance(seed);
    const floors = new Floors(SETTINGS);
    const broken: string[] = [];
    const struck = new Map<string, number>();
    let invalidations = 0;
    let isolations = 0;
    fleet.onInvalidated = (invalidation) => {
      invalidations++;
      floors.invalidated(invalidation);
    };
    fleet.onSeen = (member, seen) => {
      const wrong = floors.judge(seen);
      if (wrong !== undefined && broken.length < 10) broken.push(`member ${member}: ${wrong}`);
    };
    fleet.onCoherence = (_, state) => {
      if (state === 'isolated') isolations++;
    };
    const live = (member: number) => void fleet.ask(member, 'live', { keys: KEYS });
    for (let member = 0; member < MEMBERS; member++) live(member);
    const faults = faultsOf(fleet, pick, live);
    const stampedes = new Stampedes(fleet, pick, live);
    await using outsider = new OutsideWriter(fleet, KEYS, pick);
    const endAt = performance.now() + seconds * 1_000;
    while (performance.now() < endAt && broken.length === 0) {
      const lift: (() => Promise<void>)[] = [];
      const names = new Set<string>();
      for (let n = 1 + pick(3); n > 0; n--) {
        const fault = faults[pick(faults.length)] as Fault;
        // Nobody can do more to a Redis that is not there, nor to a process.
        if (
          [...names].some((name) => /^Redis is (paused|killed)/.test(name) || /^a process (gets|is killed)/.test(name))
        )
          break;
        if (names.has(fault.name)) continue;
        names.add(fault.name);
        struck.set(fault.name, (struck.get(fault.name) ?? 0) + 1);
        lift.push(await fault.strike());
        await sleep(between(50, 600));
      }
      await sleep(between(100, 2_500));
      for (const undo of lift) await undo();
      await sleep(between(100, 1_500));
      if (fleet.died !== undefined) broken.push(fleet.died);
      if (broken.length === 0) broken.push(...(await stampedes.round()));
    }
    await outsider.stop();
    // When all is well again, all agree, and with what is true.
    await sleep(2 * SETTINGS.maxLagMs);
    const owed = async () => (await fleet.all<{ owed: number }>('stats')).map((one) => one.owed);
    await fleet
      .until(async () => (await owed()).every((writes) => writes === 0), 'nothing is owed')
      .catch(async (error: Error) => broken.push(`${error.message}: ${await owed()}`));
    const stats = await fleet.all<{ loads: number; hitsMemory: number; hitsRemote: number; loadFailures: number }>(
      'stats',
    );
    const sum = (field: 'loads' | 'hitsMemory' | 'hitsRemote' | 'loadFailures') =>
      stats.reduce((total, one) => total + one[field], 0);
    const page = [
      '# Soak of @x/cache',
      '',
      `${MEMBERS} processes share a cache over a real Redis (\`invalidation: '${SETTINGS.invalidation}'\`, \`maxLagMs: ${SETTINGS.maxLagMs}\`, \`commandTimeoutMs: ${SETTINGS.commandTimeoutMs}\`, \`leaseMs: ${SETTINGS.leaseMs}\`,`,
      `half of them with ioredis 5, half with 6), read ${KEYS} keys and invalidate them in all ways, while faults strike at random`,
      `(\`pnpm --filter @x/cache soak\`; ${seconds} s, seed ${seed}, ${cpus().length} cores).`,
      '',
      '| fault | times |',
      '|---|---|',
      ...[...struck].sort().map(([name, times]) => `| ${name} | ${times} |`),
      '',
      '| | |',
      '|---|---|',
      `| promises broken | ${broken.length === 0 ? 'none' : broken.join('; ')} |`,
      `| reads of a fresh value, each judged | ${floors.reads} |`,
      `| invalidations in force, those of them that somebody outside the library made (SET, DEL, UNLINK, PEXPIRE) | ${invalidations}, ${outsider.writes} |`,
      `| cold keys that all processes asked for at once, and loads of them | ${stampedes.cold}, ${stampedes.coldLoads} |`,
      `| holders of a lease that were killed, longest that the others then waited for a value | ${stampedes.killed}, ${Math.round(stampedes.longestWaitMs)} ms |`,
      `| times that a process did not reach Redis while those were loaded, so that it might load for itself | ${stampedes.disturbed} |`,
      `| times that a process was isolated | ${isolations} |`,
      `| longest that an older value was still asked for and given, faults and loads under way included | ${Math.round(floors.longestLagMs)} ms |`,
      `| of the processes that lived to the end: hits in memory, in Redis, loads, failed loads | ${sum('hitsMemory')}, ${sum('hitsRemote')}, ${sum('loads')}, ${sum('loadFailures')} |`,
      '',
      'Promises: after an invalidation has returned and Redis owes nothing, no process serves an older value as fresh for longer than `maxLagMs` (and 300 ms for the',
      'machine); a load that was under way counts from its end, with the one command that stores it, and a process that was stopped counts the time that it ran. A value that was set is older from',
      'the next call on that begins when the call that set it has returned, whether or not Redis took it: of two calls that overlap either may come last.',
      'When all reach Redis again, a cold key that all ask for at once is loaded once; when the process that loads it is killed, the others have a value after `leaseMs`',
      'and their own load (and 500 ms for the machine), with one load more. If commands to Redis fail meanwhile, each process may load for itself, once. No process ends',
      'by itself; nothing is owed to Redis in the end.',
      '',
    ].join('\n');
    if (report !== undefined && broken.length === 0) {
      const file = join(import.meta.dirname, '..', report);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, page);
    } else console.log(page);
    expect(broken).toEqual([]);
    expect(floors.reads).toBeGreaterThan(100);
    expect(invalidations).toBeGreaterThan(10);
  },
  (seconds + 120) * 1_000,
);

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
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
  return { pick: (below) => Math.floor(next() * below), between: (low, high) => low + next() * (high - low) };
}
