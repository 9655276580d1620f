import { ConcurrencyLimiter } from '@x/backpressure';
import { Sema } from 'async-sema';
import { bulkhead } from 'cockatiel';
import fastq from 'fastq';
import pLimit from 'p-limit';
import PQueue from 'p-queue';

export const OURS = '@x/backpressure';
export const TASKS = 10_000;
const concurrency = 10;

export type Call = () => Promise<unknown>;

/** Makes a call through each, with a concurrency of ten and room for all to wait. */
export const peers: Readonly<Record<string, () => Call>> = {
  [OURS]: () => {
    const limiter = new ConcurrencyLimiter({ limit: concurrency, maxQueue: TASKS });
    return () => limiter.run(work);
  },
  'async-sema': () => {
    const sema = new Sema(concurrency);
    return async () => {
      await sema.acquire();
      try {
        await work();
      } finally {
        sema.release();
      }
    };
  },
  'p-limit': () => {
    const limit = pLimit(concurrency);
    return () => limit(work);
  },
  'p-queue': () => {
    const queue = new PQueue({ concurrency });
    return () => queue.add(work);
  },
  fastq: () => {
    const queue = fastq.promise<unknown, () => Promise<void>, void>((task) => task(), concurrency);
    return () => queue.push(work);
  },
  'cockatiel bulkhead': () => {
    const hold = bulkhead(concurrency, TASKS);
    return () => hold.execute(work);
  },
};

export async function work(): Promise<void> {
  await null;
}

export async function burst(call: Call): Promise<void> {
  await Promise.all(Array.from({ length: TASKS }, call));
}
