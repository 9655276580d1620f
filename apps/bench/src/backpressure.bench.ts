import { ConcurrencyLimiter, RateLimiter } from '@x/backpressure';
import { Sema } from 'async-sema';
import { bulkhead } from 'cockatiel';
import fastq from 'fastq';
import { bench, do_not_optimize, group, run } from 'mitata';
import pLimit from 'p-limit';
import PQueue from 'p-queue';

const tasks = 10_000;
const concurrency = 10;
const ours = '@x/backpressure';

/** Our limiter beside its peers: calls one after the other that find a permit free, and a burst of which all but ten wait. */
export async function runBackpressureBench(): Promise<void> {
  const peers = contenders();
  const limiter = new ConcurrencyLimiter({ limit: concurrency });
  const { signal } = new AbortController();
  const rateLimiter = new RateLimiter({ limit: 1e9, intervalMs: 1_000 });

  group(() => {
    for (const [name, call] of Object.entries(peers)) {
      bench(`sequential ${name}`, async () => {
        for (let n = 0; n < 100; n++) await call();
      });
    }
    bench('sequential with a signal and a time-out', async () => {
      for (let n = 0; n < 100; n++) await limiter.run(work, { signal, timeoutMs: 60_000 });
    });
  });
  group(() => {
    for (const [name, call] of Object.entries(peers)) {
      bench(`burst ${name}`, async () => {
        await Promise.all(Array.from({ length: tasks }, call));
      }).gc('inner');
    }
  });
  bench('RateLimiter.tryConsume', () => do_not_optimize(rateLimiter.tryConsume('user-1')));

  const { benchmarks } = await run();
  const medians = new Map(benchmarks.map(({ alias, runs }) => [alias, runs[0]?.stats?.p50 ?? Number.NaN]));
  for (const kind of ['sequential', 'burst']) {
    for (const name of Object.keys(peers)) {
      if (name === ours) continue;
      const ratio = (medians.get(`${kind} ${ours}`) ?? Number.NaN) / (medians.get(`${kind} ${name}`) ?? Number.NaN);
      console.log(`${kind}: ${ours} / ${name} = ${ratio.toFixed(2)}`);
    }
  }
}

async function work(): Promise<void> {
  await null;
}

/** One call through each, with a concurrency of ten and room for all to wait. */
function contenders(): Record<string, () => Promise<unknown>> {
  const limiter = new ConcurrencyLimiter({ limit: concurrency, maxQueue: tasks });
  const sema = new Sema(concurrency);
  const limit = pLimit(concurrency);
  const queue = new PQueue({ concurrency });
  const fast = fastq.promise<unknown, () => Promise<void>, void>((task) => task(), concurrency);
  const hold = bulkhead(concurrency, tasks);
  return {
    [ours]: () => limiter.run(work),
    'async-sema': async () => {
      await sema.acquire();
      try {
        await work();
      } finally {
        sema.release();
      }
    },
    'p-limit': () => limit(work),
    'p-queue': () => queue.add(work),
    fastq: () => fast.push(work),
    'cockatiel bulkhead': () => hold.execute(work),
  };
}
