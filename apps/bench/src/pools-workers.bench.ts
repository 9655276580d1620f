import { fileURLToPath } from 'node:url';
import { WorkerPool } from '@x/pools/workers';
import { Piscina } from 'piscina';
import { median, verdict } from './pools-rounds.ts';

const ours = '@x/pools';
const peer = 'piscina';
const poolsOfEach = 12;
const callsInRound = 500;
const filename = fileURLToPath(new URL('../../../packages/pools/test/fixtures/tasks.mjs', import.meta.url));

/**
 * WorkerPool beside what it is built on: round trips of a task that does nothing. A thread is woken in 15 or in 55 us, as
 * the processor has it that it happens to sleep on; so many new pools of each kind take turns, one at a time, and their
 * medians are compared.
 */
export async function runPoolsWorkersBench(): Promise<void> {
  for (const callers of [1, 10]) {
    const times: Record<string, number[]> = { [ours]: [], [peer]: [] };
    for (let n = 0; n < poolsOfEach; n++) {
      for (const kind of n % 2 === 0 ? [ours, peer] : [peer, ours]) times[kind]?.push(await measure(kind, callers));
    }
    const medians: Record<string, number> = {};
    for (const [kind, all] of Object.entries(times)) {
      medians[kind] = median(all);
      console.log(
        `worker round trip, ${callers} callers: ${kind} ${medians[kind].toFixed(1)} us (all pools: ${all.map((us) => us.toFixed(0)).join(' ')})`,
      );
    }
    const ratio = (medians[ours] ?? 0) / (medians[peer] ?? 0);
    verdict(`worker round trip, ${callers} callers: time of ${ours} / ${peer}`, ratio, 'at most', 1.1);
  }
}

/** Microseconds for each round trip of a new pool: the median of its rounds. */
async function measure(kind: string, callers: number): Promise<number> {
  if (kind === ours) {
    await using pool = new WorkerPool({ filename, maxThreads: 1 });
    return await microseconds(() => pool.run(1), callers);
  }
  const piscina = new Piscina({ filename, minThreads: 1, maxThreads: 1 });
  const us = await microseconds(() => piscina.run(1), callers);
  await piscina.destroy();
  return us;
}

async function microseconds(call: () => Promise<unknown>, callers: number): Promise<number> {
  const samples: number[] = [];
  for (let round = -3; round < 9; round++) {
    const start = performance.now();
    await Promise.all(
      Array.from({ length: callers }, async () => {
        for (let n = 0; n < callsInRound / callers; n++) await call();
      }),
    );
    if (round >= 0) samples.push(((performance.now() - start) * 1_000) / callsInRound);
  }
  return median(samples);
}
