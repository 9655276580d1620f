import { ConcurrencyLimiter, RateLimiter } from '@x/backpressure';
import { measureBytes } from './backpressure-bytes.ts';
import { burst, type Call, OURS, peers, TASKS, work } from './backpressure-peers.ts';
import { printGoals } from './cache-goals.ts';
import { median } from './pools-rounds.ts';

const ROUNDS = 41;
const SEQUENTIAL = 10_000;

/**
 * Our limiter beside its peers: calls one after the other that find a permit free, and a burst of which all but ten wait. The
 * contenders take turns in short rounds and the ratio is the median of the rounds' ratios: whatever else the machine does meets all.
 */
export async function runBackpressureBench(): Promise<void> {
  const calls = new Map(Object.entries(peers).map(([name, make]) => [name, make()]));
  const oneByOne = await measure(calls, SEQUENTIAL, async (call) => {
    for (let n = 0; n < SEQUENTIAL; n++) await call();
  });
  const bursts = await measure(calls, TASKS, burst);
  const bytes = new Map([...calls.keys()].map((name) => [name, measureBytes(name)]));

  console.log(
    'a call, medians'.padEnd(24),
    ...['one by one', 'burst', 'held', 'allocated'].map((head) => head.padStart(12)),
  );
  for (const name of calls.keys()) {
    const { held, allocated } = bytes.get(name) ?? { held: Number.NaN, allocated: Number.NaN };
    const cells = [`${ns(oneByOne, name)} ns`, `${ns(bursts, name)} ns`, `${held} B`, `${allocated} B`];
    console.log(name.padEnd(24), ...cells.map((cell) => cell.padStart(12)));
  }
  const options = optionCosts();
  const costs = await measure(options, SEQUENTIAL, async (call) => {
    for (let n = 0; n < SEQUENTIAL; n++) await call();
  });
  for (const name of options.keys()) console.log(`${name}: ${ns(costs, name)} ns`);

  const held = (name: string): number => bytes.get(name)?.held ?? Number.NaN;
  const allocated = (name: string): number => bytes.get(name)?.allocated ?? Number.NaN;
  printGoals([
    { what: 'one by one / async-sema', measured: ratio(oneByOne, 'async-sema'), atMost: 1 },
    { what: 'one by one / p-limit', measured: ratio(oneByOne, 'p-limit'), atMost: 0.5 },
    { what: `burst of ${TASKS} / fastq`, measured: ratio(bursts, 'fastq'), atMost: 1.1 },
    { what: `burst of ${TASKS} / p-limit`, measured: ratio(bursts, 'p-limit'), atMost: 0.7 },
    { what: 'bytes held while queued / fastq', measured: held(OURS) / held('fastq'), atMost: 1.25 },
    { what: 'bytes allocated in a burst / fastq', measured: allocated(OURS) / allocated('fastq'), atMost: 1.25 },
  ]);
}

/** What options cost a call that finds a permit free. */
function optionCosts(): Map<string, Call> {
  const limiter = new ConcurrencyLimiter({ limit: 10 });
  const { signal } = new AbortController();
  const rateLimiter = new RateLimiter({ limit: 1e9, intervalMs: 1_000 });
  return new Map<string, Call>([
    ['no limiter', work],
    ['run', () => limiter.run(work)],
    ['run with a key and a priority', () => limiter.run(work, { key: 'user-1', priority: 'critical' })],
    ['run with a signal', () => limiter.run(work, { signal })],
    ['run with a signal and a time-out', () => limiter.run(work, { signal, timeoutMs: 60_000 })],
    ['RateLimiter.tryConsume, awaited', async () => rateLimiter.tryConsume('user-1')],
  ]);
}

/** Nanoseconds a call, by contender and round. */
async function measure(
  calls: ReadonlyMap<string, Call>,
  count: number,
  round: (call: Call) => Promise<void>,
): Promise<Map<string, number[]>> {
  const samples = new Map<string, number[]>([...calls.keys()].map((name) => [name, []]));
  const all = [...calls];
  for (let turn = -8; turn < ROUNDS; turn++) {
    for (let n = 0; n < all.length; n++) {
      const [name, call] = all[(n + turn + all.length * 8) % all.length] as [string, Call];
      globalThis.gc?.();
      const start = performance.now();
      await round(call);
      const each = ((performance.now() - start) * 1e6) / count;
      if (turn >= 0) samples.get(name)?.push(each);
    }
  }
  return samples;
}

function ns(samples: ReadonlyMap<string, number[]>, name: string): number {
  return Math.round(median(samples.get(name) ?? []));
}

function ratio(samples: ReadonlyMap<string, number[]>, beside: string): number {
  const others = samples.get(beside) ?? [];
  return median((samples.get(OURS) ?? []).map((own, round) => own / (others[round] ?? Number.NaN)));
}
