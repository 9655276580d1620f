import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { playBatcher } from './model/batcher-play.ts';
import { batcherSetup, batcherStep } from './model/batcher-setup.ts';
import { playLoader } from './model/loader-play.ts';
import { loaderSetup, loaderStep } from './model/loader-setup.ts';

// In CI a few seconds; `pnpm soak` sets how many plays, and where the report goes.
const plays = Number(process.env.SOAK_PLAYS ?? 1_000);
const report = process.env.SOAK_REPORT;
const seed = Math.floor(Math.random() * 2 ** 31);

// Memory that is used and memory that is not collected yet look alike.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const loaderPlay = fc.tuple(loaderSetup, fc.array(loaderStep, { maxLength: 40, size: 'max' }));
const batcherPlay = fc.tuple(batcherSetup, fc.array(batcherStep, { maxLength: 40, size: 'max' }));

interface Tally {
  batches: number;
  /** How many came to what: values, errors by kind, aborts. */
  outcomes: Map<string, number>;
  heapMb: number[];
  seconds: number;
}

const tallies = new Map<string, Tally>();

it(
  `DataLoader: ${plays} random interleavings end as a sequential model says`,
  async () => {
    await soak('DataLoader', loaderPlay, ([setup, steps]) => playLoader(setup, steps));
  },
  plays * 20 + 20_000,
);

it(
  `Batcher: ${plays} random interleavings end as a sequential model says`,
  async () => {
    await soak('Batcher', batcherPlay, ([setup, steps]) => playBatcher(setup, steps));
  },
  plays * 20 + 20_000,
);

it('what a play was made of is collected while the loader, or the batcher, lives on', async () => {
  const loaders = [];
  for (const [setup, steps] of fc.sample(loaderPlay, { numRuns: 100, seed: 1 })) {
    loaders.push(await playLoader(setup, steps));
  }
  const batchers = [];
  for (const [setup, steps] of fc.sample(batcherPlay, { numRuns: 100, seed: 1 })) {
    batchers.push(await playBatcher(setup, steps));
  }
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  for (const played of [loaders, batchers]) {
    const made = played.flatMap((play) => play.made);
    expect(made.length).toBeGreaterThan(1_000);
    expect(made.filter((ref) => ref.deref() !== undefined)).toEqual([]);
  }
  expect(loaders.every(({ loader }) => loader.stats().runningBatches === 0)).toBe(true);
  expect(batchers.every(({ batcher }) => batcher.stats().runningBatches === 0)).toBe(true);
});

afterAll(() => {
  if (report === undefined || tallies.size < 2) return;
  mkdirSync(dirname(report), { recursive: true });
  writeFileSync(report, written());
});

async function soak<Play>(
  name: string,
  play: fc.Arbitrary<Play>,
  run: (play: Play) => Promise<{ batches: number; outcomes: string[] }>,
): Promise<void> {
  const tally: Tally = { batches: 0, outcomes: new Map(), heapMb: [], seconds: 0 };
  const began = performance.now();
  for (let tenth = 0; tenth < 10; tenth += 1) {
    await fc.assert(
      fc.asyncProperty(play, async (one) => {
        const { batches, outcomes } = await run(one);
        tally.batches += batches;
        for (const outcome of outcomes) count(tally.outcomes, kindOf(outcome));
      }),
      { numRuns: Math.ceil(plays / 10), seed: seed + tenth },
    );
    collect();
    tally.heapMb.push(Math.round(process.memoryUsage().heapUsed / 2 ** 20));
  }
  tally.seconds = Math.round((performance.now() - began) / 1_000);
  tallies.set(name, tally);
}

function count(counts: Map<string, number>, kind: string): void {
  counts.set(kind, (counts.get(kind) ?? 0) + 1);
}

function kindOf(outcome: string): string {
  if (/^\d+ in/.test(outcome)) return 'the value or result of its own key or item';
  if (outcome.startsWith('error of')) return 'the error of its own key or item';
  if (outcome.startsWith('batch')) return 'the rejection of its batch';
  if (outcome.startsWith('left')) return 'its own abort';
  if (outcome.includes('primed')) return 'what was primed';
  return outcome;
}

function written(): string {
  const rows = [...tallies].flatMap(([name, { batches, outcomes, heapMb, seconds }]) => [
    `| **${name}** | ${plays} plays, ${seconds} s |`,
    `| batches | ${batches} |`,
    ...[...outcomes].sort().map(([kind, times]) => `| ${kind} | ${times} |`),
    `| heap in MB after each tenth, collected | ${heapMb.join(', ')} |`,
  ]);
  return `# Soak of DataLoader and Batcher

Random options and random steps, played with a loader or a batcher and with a sequential model of one, compared after each step
(\`pnpm --filter @x/dataloader soak\`; Node ${process.versions.node}, seed ${seed}, at most 40 steps a play and then its end, an injected clock). Every
load, batch, signal and counter was as the model said: each caller is answered once, with what belongs to its key; no batch is larger than it may be, and no
more run than may; a caller who leaves is told at once; a batch's signal aborts when its last caller has gone or its time is up, and not before; what failed or
was left stays in no cache, and never evicts a newer value. Nothing is written twice, lost or out of order, and \`flush()\`, \`onIdle()\` and \`close()\` resolve
when they should. Afterwards no timer and no listener is left.

Steps: load, loadMany, submit (also what \`validateBatch\` passes, and when there is room); abort, before, meanwhile and after; clear, clearAll, prime with a
value, an error, a promise; batch functions that give arrays, Maps, Errors for single keys, too few, sparse arrays, no array, that sort their keys, reject, throw, give no promise, load or submit more themselves;
time, turns of the event loop, dispatches by hand, flush, close. Options: all schedules, caches (own, bounded, expiring, a \`cacheMap\`, none), views, partitions, equal keys,
batch sizes, weights and bytes, concurrency, time-outs, error caching, full queues.

| | |
|---|---|
${rows.join('\n')}
`;
}
