import { fileURLToPath } from 'node:url';
import { WorkerPool } from '@x/pools/workers';
import { Piscina } from 'piscina';
import { median, verdict } from './pools-rounds.ts';

const ours = '@x/pools';
const peer = 'piscina';
const peerAgain = 'piscina once more';
const poolsOfEach = 4;
const callsInSlice = 100;
const slices = 60;
const filename = fileURLToPath(new URL('../../../packages/pools/test/fixtures/tasks.mjs', import.meta.url));

interface Contender {
  /** One round trip. */
  call(): Promise<unknown>;
  close(): Promise<unknown>;
}

/** The same for all: one thread, kept; piscina's own defaults otherwise. */
const kinds: Record<string, (name: string) => Contender> = {
  [peer]: piscina,
  [ours]: (name) => {
    const pool = new WorkerPool({ filename, minThreads: 1, maxThreads: 1 });
    const options = name === 'default' ? undefined : ({ name } as const);
    return { call: () => pool.run(1, options), close: () => pool.close() };
  },
  [peerAgain]: piscina,
};

function piscina(name: string): Contender {
  const pool = new Piscina({ filename, minThreads: 1, maxThreads: 1, idleTimeout: 30_000 });
  const options = name === 'default' ? undefined : { name };
  return { call: () => pool.run(1, options), close: () => pool.destroy() };
}

/**
 * WorkerPool beside what it is built on: round trips of a task that does next to nothing. A thread is woken in 15 or in 55 us,
 * as the processor has it that it happens to sleep on. So several warm pools of each kind take turns in slices of a few
 * milliseconds, each slice is compared with that of piscina beside it, and the median of these ratios counts. A second
 * piscina, measured like ours, shows how far that can be trusted.
 */
export async function runPoolsWorkersBench(): Promise<void> {
  for (const [task, name] of [
    ['a task', 'default'],
    ['a task by name', 'double'],
  ] as const) {
    for (const callers of [1, 10]) {
      const times = await measure(name, callers);
      const label = `worker round trip, ${task}, ${callers} callers`;
      for (const [kind, all] of Object.entries(times)) console.log(`${label}: ${kind} ${median(all).toFixed(1)} us`);
      const ratio = (kind: string) => median((times[kind] ?? []).map((us, slice) => us / (times[peer]?.[slice] ?? 0)));
      console.log(
        `${label}: time of ${peerAgain} / ${peer} = ${ratio(peerAgain).toFixed(2)} (what chance alone makes)`,
      );
      verdict(`${label}: time of ${ours} / ${peer}`, ratio(ours), 'at most', 1.1);
    }
  }
}

/** Microseconds for each round trip, slice by slice. */
async function measure(name: string, callers: number): Promise<Record<string, number[]>> {
  const names = Object.keys(kinds);
  const times: Record<string, number[]> = {};
  const pools = new Map<string, Contender[]>();
  for (const [kind, open] of Object.entries(kinds)) {
    times[kind] = [];
    pools.set(
      kind,
      Array.from({ length: poolsOfEach }, () => open(name)),
    );
  }
  const warmUp = 10;
  for (let slice = -warmUp; slice < slices; slice++) {
    for (let n = 0; n < poolsOfEach; n++) {
      for (let turn = 0; turn < names.length; turn++) {
        const kind = names[(turn + slice + warmUp + n) % names.length] as string;
        const us = await microseconds(pools.get(kind)?.[n] as Contender, callers);
        if (slice >= 0) times[kind]?.push(us);
      }
    }
  }
  for (const opened of pools.values()) for (const pool of opened) await pool.close();
  return times;
}

async function microseconds(pool: Contender, callers: number): Promise<number> {
  const start = performance.now();
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let n = 0; n < callsInSlice / callers; n++) await pool.call();
    }),
  );
  return ((performance.now() - start) * 1_000) / callsInSlice;
}
