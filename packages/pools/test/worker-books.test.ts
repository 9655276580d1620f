import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { WorkerPool } from '@x/pools/workers';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';

const filename = new URL('./fixtures/tasks.mjs', import.meta.url);
const outcome = (call: Promise<unknown>) => call.catch((error) => error.code ?? error);

it('each task has the whole of the time that all have, whoever came before it and whether it waits or runs', async () => {
  const clock = new ManualClock();
  await using pool = new WorkerPool({ filename, maxThreads: 1, timeoutMs: 1_000, clock });
  const settled: string[] = [];
  const watch = (label: string, call: Promise<unknown>) =>
    outcome(call).then((result) => settled.push(`${label} ${result}`));
  expect(await pool.run(1)).toBe(1);
  await clock.advance(400);
  const first = watch(
    'first',
    pool.run(undefined, { name: 'throwAside' }).catch(() => 'ended'),
  );
  await first;
  const runs = watch('runs', pool.run(600_000, { name: 'wait' }));
  await clock.advance(300);
  const waits = watch('waits', pool.run(600_000, { name: 'wait' }));
  const own = watch('own', pool.run(600_000, { name: 'wait', timeoutMs: 900 }));
  await clock.advance(690);
  expect(settled).toEqual(['first ended']);
  expect(pool.stats()).toMatchObject({ running: 1, queued: 2, timedOut: 0 });
  await clock.advance(11);
  await runs;
  expect(settled).toEqual(['first ended', 'runs ERR_TIMEOUT']);
  await clock.advance(199);
  await own;
  expect(settled).toEqual(['first ended', 'runs ERR_TIMEOUT', 'own ERR_TIMEOUT']);
  await clock.advance(99);
  expect(pool.stats()).toMatchObject({ running: 1, queued: 0, timedOut: 2 });
  await clock.advance(2);
  await waits;
  expect(pool.stats()).toMatchObject({ running: 0, timedOut: 3 });
});

it('a pool with nothing to do keeps no timer that keeps the process, and none when it is closed', async () => {
  const timers = new Set<unknown>();
  let unreferenced = 0;
  const clock = {
    now: () => performance.now(),
    setTimeout: (fn: () => void, ms: number) => {
      const timer = setTimeout(fn, ms);
      const { unref } = timer;
      timer.unref = () => {
        unreferenced++;
        return unref.call(timer);
      };
      timers.add(timer);
      return timer;
    },
    clearTimeout: (timer: unknown) => {
      timers.delete(timer);
      clearTimeout(timer as NodeJS.Timeout);
    },
  };
  const pool = new WorkerPool({ filename, maxThreads: 1, clock });
  for (let n = 0; n < 5; n++) await pool.run(n);
  expect([timers.size, unreferenced]).toEqual([1, 1]);
  await pool.run(1, { timeoutMs: 5_000 });
  expect(timers.size).toBe(1);
  await pool.close();
  expect(timers.size).toBe(0);
});

it('a thread that is started in the place of a stopped one keeps nothing of who stopped it', async () => {
  const caller = new AsyncLocalStorage<object>();
  await using pool = new WorkerPool({ filename, maxThreads: 1 });
  const stop = async (): Promise<WeakRef<object>> => {
    const mine = { of: 'alice' };
    const controller = new AbortController();
    await caller.run(mine, async () => {
      const stopped = outcome(pool.run(60_000, { name: 'spin', signal: controller.signal }));
      controller.abort('gone');
      await stopped;
    });
    return new WeakRef(mine);
  };
  const left = await stop();
  expect(await pool.run(1)).toBe(1);
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await expect
    .poll(() => {
      collect();
      return left.deref();
    })
    .toBeUndefined();
});

it('a task that is over has left its signal', async () => {
  await using pool = new WorkerPool({ filename, maxThreads: 1 });
  const { signal } = new AbortController();
  const inputs = [1, () => {}, 2];
  await Promise.all(inputs.map((input) => outcome(pool.run(input, { signal }))));
  await outcome(pool.run('no', { name: 'fail', signal }));
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

it('however many waiting tasks cannot be sent, each fails alone', async () => {
  await using pool = new WorkerPool({ filename, maxThreads: 1, maxQueue: 3_000 });
  const first = pool.run(50, { name: 'wait' });
  const others = await Promise.all(
    Array.from({ length: 3_000 }, () => pool.run(() => {}).catch((error) => error.name)),
  );
  expect(new Set(others)).toEqual(new Set(['DataCloneError']));
  expect([await first, await pool.run(1)]).toEqual([50, 1]);
  expect(pool.stats()).toMatchObject({ completed: 2, failed: 3_000, running: 0, queued: 0, replaced: 0 });
});
