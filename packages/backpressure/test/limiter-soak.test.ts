import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ConcurrencyLimiter, KneeLimit, type Permit, type Priority } from '@x/backpressure';
import { VirtualClock } from '@x/testkit';
import { afterAll, expect, test } from 'vitest';

// In CI a part of it; `pnpm soak` does a million, and writes its page.
const operations = Number(process.env.SOAK_OPERATIONS ?? 50_000);
const report = process.env.LIMITER_SOAK_REPORT;
const SEED = 1;
/** One row of the page for each limit that came through. */
const rows: string[] = [];
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const priorities: readonly Priority[] = ['critical', 'default', 'sheddable'];

test.each([
  ['a fixed limit', (): ConcurrencyLimiter['limit'] | KneeLimit => 8],
  ['KneeLimit', () => new KneeLimit({ minLimit: 5, maxLimit: 50 })],
])(
  `${operations} operations on %s: random aborts, time-outs, deadlines, limits, throws; nothing is left behind`,
  async (name, makeLimit) => {
    const clock = new VirtualClock();
    let timers = 0;
    const counted = {
      now: clock.now,
      setTimeout: (fn: () => void, ms: number): unknown => {
        timers++;
        const state = { over: false };
        const timer = clock.setTimeout(() => {
          if (!state.over) timers--;
          state.over = true;
          fn();
        }, ms);
        return { timer, state };
      },
      clearTimeout: (given: unknown): void => {
        if (given === undefined) return;
        const { timer, state } = given as { timer: unknown; state: { over: boolean } };
        if (!state.over) timers--;
        state.over = true;
        clock.clearTimeout(timer);
      },
    };
    const random = mulberry32(SEED);
    const pick = (below: number): number => Math.floor(random() * below);
    const fixed = makeLimit();
    const limiter = new ConcurrencyLimiter({
      limit: fixed,
      maxQueue: 40,
      queueTimeoutMs: 60,
      order: 'adaptive',
      clock: counted,
      random,
    });
    let running = 0;
    let asked = 0;
    let answered = 0;
    const most = typeof fixed === 'number' ? 16 : 50;
    let over = 0;
    const permits: Permit[] = [];
    const heapMb: number[] = [];
    const answer = (): void => void answered++;
    const hold = (permit: Permit): void => {
      answered++;
      permits.push(permit);
    };
    const begin = (): void => {
      running++;
      // A limit made smaller is reached as work ends: what counts here is that nothing starts above the greatest there was.
      if (running > most) over++;
    };
    const work = async (): Promise<void> => {
      begin();
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 1 + pick(20)));
      running--;
      if (pick(5) === 0) throw new Error('late');
    };
    const throws = (): never => {
      throw new Error('sync');
    };

    for (let n = 0; n < operations; n++) {
      const controller = pick(3) === 0 ? new AbortController() : undefined;
      if (controller !== undefined) {
        clock.setTimeout(() => controller.abort(new Error('gone')), pick(40));
      }
      const options = {
        ...(controller !== undefined && { signal: controller.signal }),
        ...(pick(3) === 0 && { timeoutMs: pick(15) }),
        ...(pick(3) === 0 && { deadlineMs: pick(80) }),
        ...(pick(2) === 0 && { key: `caller-${pick(200)}` }),
        ...(pick(2) === 0 && { priority: priorities[pick(3)] }),
      };
      asked++;
      const kind = pick(10);
      if (kind < 4) limiter.run(work, Object.keys(options).length === 0 ? undefined : options).then(answer, answer);
      else if (kind < 6) limiter.run(work).then(answer, answer);
      else if (kind === 6) limiter.run(throws, options).then(answer, answer);
      else if (kind === 7) limiter.acquire(options).then(hold, answer);
      else if (kind === 8) {
        answer();
        const permit = limiter.tryAcquire();
        if (permit !== undefined) permits.push(permit);
      } else {
        answer();
        if (typeof fixed === 'number') limiter.setLimit(1 + pick(16));
      }
      while (permits.length > 4 || (permits.length > 0 && pick(3) === 0)) {
        const permit = permits.splice(pick(permits.length), 1)[0];
        permit?.release();
        if (pick(2) === 0) permit?.failure();
      }
      if (n % 4 === 0) await clock.runUntil(clock.now() + pick(12));
      if (n % Math.ceil(operations / 10) === 0) {
        collect();
        heapMb.push(Math.round(process.memoryUsage().heapUsed / 1e6));
      }
    }
    for (const permit of permits) permit.release();
    for (let turn = 0; turn < 20; turn++) {
      await clock.runUntil(clock.now() + 100);
      for (const permit of permits.splice(0)) permit.release();
    }
    const { inFlight, queued, abandonedInFlight, admitted, completed, abandoned, rejected } = limiter.stats();
    expect({ inFlight, queued, abandonedInFlight, running, over, timers }).toEqual({
      inFlight: 0,
      queued: 0,
      abandonedInFlight: 0,
      running: 0,
      over: 0,
      timers: 0,
    });
    expect(admitted).toBe(completed);
    // Or nothing was tried: a limit whose permits are all kept lets nobody in.
    expect(admitted).toBeGreaterThan(operations / 5);
    expect(answered).toBe(asked);
    expect(Math.max(...heapMb.slice(-3)) - (heapMb[3] ?? 0)).toBeLessThan(20);
    const refused = Object.entries(rejected).map(([reason, count]) => `${reason} ${count}`);
    rows.push(`| ${[name, asked, admitted, abandoned, refused.join(', '), heapMb.join(', ')].join(' | ')} |`);
  },
  600_000,
);

afterAll(() => {
  if (report === undefined) return;
  const text = `# Soak of @x/backpressure: interleavings

\`pnpm --filter @x/backpressure soak\`; written by \`test/limiter-soak.test.ts\`, Node ${process.versions.node}. ${operations} operations on each limiter in virtual time, seed ${SEED}: \`run\`,
\`acquire\` and \`tryAcquire\` with random aborts, time-outs, deadlines, 200 keys, priorities, changes of a fixed limit, synchronous throws and double releases. A row is here only if at the
end nothing was in flight, queued or abandoned, no more had run at once than the greatest limit, everyone who asked was answered once, as many had ended as were admitted, and no timer was left.

| limit | asked | admitted | left by their callers | refused | heap after each tenth, collected, MB |
|---|---|---|---|---|---|
${rows.join('\n')}

The same policies against a real server and a real PostgreSQL: [backpressure-trial.md](backpressure-trial.md).
`;
  writeFileSync(join(import.meta.dirname, '..', report), text);
});

/** Tommy Ettinger's generator: the same run for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
