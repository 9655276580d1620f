import { Batcher, type BatcherOptions } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

type Step =
  | { do: 'submit'; bytes: number; leaves: number | undefined }
  | { do: 'release' | 'fail' | 'reject one' }
  | { do: 'advance'; ms: number }
  | { do: 'flush' | 'turn' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      bytes: fc.integer({ min: 1, max: 6 }),
      leaves: fc.option(fc.nat(4), { nil: undefined }),
    }),
  },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ do: 'release' }, { do: 'fail' }, { do: 'reject one' }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.constantFrom<Step>({ do: 'flush' }, { do: 'turn' }) },
);

interface Call {
  items: readonly number[];
  settle: (how: 'release' | 'fail' | 'reject one') => void;
}

describe.each<[string, BatcherOptions<number>]>([
  ['batches by count', { maxBatchSize: 3 }],
  ['batches by bytes', { maxBatchBytes: 7, bytesOf: (item) => (item % 6) + 1 }],
  ['a small queue that refuses', { maxBatchSize: 2, maxQueued: 3 }],
  ['a small queue that lets wait', { maxBatchSize: 2, maxQueued: 2, whenFull: 'wait' }],
  ['several batches at once', { maxBatchSize: 2, maxConcurrentBatches: 3 }],
  ['a time-out', { maxBatchSize: 2, batchTimeoutMs: 9 }],
])('any interleaving of submits, aborts, failures, flushes and a close, with %s', (_name, options) => {
  it('writes nothing twice, loses nothing, keeps the order, and answers everybody', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), (steps) => play(steps, options)),
      { numRuns: 80 },
    );
  });
});

async function play(steps: Step[], options: BatcherOptions<number>): Promise<void> {
  const clock = new ManualClock();
  const calls: Call[] = [];
  const batcher = new Batcher<number, string>(
    (items) =>
      new Promise((resolve, reject) => {
        calls.push({
          items,
          settle(how) {
            if (how === 'fail') reject(new Error('failed'));
            else resolve(items.map((item, i) => (how === 'reject one' && i === 0 ? new Error('one') : `w${item}`)));
          },
        });
      }),
    { clock, ...options },
  );
  const outcomes = new Map<number, unknown>();
  const leaving: { after: number; controller: AbortController }[] = [];
  let item = 0;
  let settled = 0;
  for (const now of steps) {
    if (now.do === 'submit') {
      const id = item;
      item += 1;
      const controller = new AbortController();
      const write = batcher.submit(id, now.leaves === undefined ? {} : { signal: controller.signal });
      if (now.leaves !== undefined) leaving.push({ after: now.leaves, controller });
      write.then(
        (value) => outcomes.set(id, value),
        (error) => outcomes.set(id, error),
      );
    } else if (now.do === 'advance') await clock.advance(now.ms);
    else if (now.do === 'flush') void batcher.flush();
    else if (now.do === 'turn') await turn();
    else if (calls[settled] !== undefined) {
      calls[settled]?.settle(now.do);
      settled += 1;
    }
    for (const one of leaving) {
      if (one.after === 0) one.controller.abort('left');
      one.after -= 1;
    }
    const { queued } = batcher.stats();
    expect(queued).toBeLessThanOrEqual(options.maxQueued ?? Number.POSITIVE_INFINITY);
  }
  let closed = false;
  void batcher.close().then(() => {
    closed = true;
  });
  while (!closed) {
    if (calls[settled] !== undefined) {
      calls[settled]?.settle('release');
      settled += 1;
    }
    await turn();
  }
  check(item, calls, outcomes, options);
  const { submitted, written, failed, aborted, queued, waiting, runningBatches, batches } = batcher.stats();
  expect(submitted).toBe(written + failed + aborted);
  expect([queued, waiting, runningBatches, clock.pendingTimers]).toEqual([0, 0, 0, 0]);
  expect(batches).toBe(calls.length);
}

function check(items: number, calls: Call[], outcomes: Map<number, unknown>, options: BatcherOptions<number>): void {
  const asked = calls.flatMap((call) => [...call.items]);
  expect(asked).toEqual([...asked].sort((a, b) => a - b));
  expect(new Set(asked).size).toBe(asked.length);
  expect(outcomes.size).toBe(items);
  for (const { items: batch } of calls) {
    expect(batch.length).toBeLessThanOrEqual(options.maxBatchSize ?? 100);
    const bytes = batch.reduce((sum, one) => sum + (options.bytesOf?.(one) ?? 0), 0);
    if (batch.length > 1) expect(bytes).toBeLessThanOrEqual(options.maxBatchBytes ?? Number.POSITIVE_INFINITY);
  }
  for (const [id, outcome] of outcomes) {
    const reached = asked.includes(id);
    if (outcome === `w${id}`) expect(reached).toBe(true);
    else if (outcome !== 'left') {
      const { code, message } = outcome as { code?: string; message: string };
      // Only what was refused at the door is not asked for.
      expect(reached).toBe(code !== 'ERR_OVERLOADED');
      if (code === undefined) expect(['failed', 'one']).toContain(message);
      else expect(['ERR_OVERLOADED', 'ERR_TIMEOUT']).toContain(code);
    }
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
