import { WorkerPool, type WorkerPoolOptions } from '@x/pools/workers';
import { afterEach, describe, expect, it } from 'vitest';

const filename = new URL('./fixtures/tasks.mjs', import.meta.url);
const pools: WorkerPool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(options: Partial<WorkerPoolOptions> = {}): WorkerPool {
  const pool = new WorkerPool({ filename, maxThreads: 2, ...options });
  pools.push(pool);
  return pool;
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a task', () => {
  it('runs in a thread, by the name of its export', async () => {
    const pool = open();
    expect(await pool.run({ a: [1] })).toEqual({ a: [1] });
    expect(await pool.run(21, { name: 'double' })).toBe(42);
    expect(pool.stats()).toMatchObject({ completed: 2, running: 0, queued: 0, failed: 0 });
  });

  it('rejects with its own error', async () => {
    const pool = open();
    await expect(pool.run('no', { name: 'fail' })).rejects.toThrow('no');
    expect(pool.stats()).toMatchObject({ failed: 1, replaced: 0 });
  });

  it('is given a typed array without a copy', async () => {
    const numbers = new Float64Array([1, 2, 3]);
    const pool = open();
    expect(await pool.run(numbers, { name: 'sum', transfer: [numbers.buffer] })).toBe(6);
    expect(numbers.byteLength).toBe(0);
  });

  it('is stopped when its time is over, and its thread is replaced', async () => {
    const pool = open();
    const other = pool.run(300, { name: 'spin' });
    const started = performance.now();
    await expect(pool.run(60_000, { name: 'spin', timeoutMs: 100 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(await other).toBe(300);
    expect(await pool.run(1, { name: 'double' })).toBe(2);
    expect(pool.stats()).toMatchObject({ timedOut: 1, replaced: 1, completed: 2 });
  });

  it('is stopped when its caller leaves, who is told the reason at once', async () => {
    const pool = open({ maxThreads: 1 });
    await pool.run(0);
    const controller = new AbortController();
    const running = pool.run(60_000, { name: 'spin', signal: controller.signal });
    await later(50);
    const reason = new Error('the client has gone');
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    expect(await pool.run(1)).toBe(1);
    expect(pool.stats()).toMatchObject({ replaced: 1, failed: 0, timedOut: 0 });
  });

  it('does not run when its caller has left before', async () => {
    const pool = open();
    await expect(pool.run(1, { signal: AbortSignal.abort('gone') })).rejects.toBe('gone');
    expect(pool.stats()).toMatchObject({ running: 0, completed: 0 });
  });

  it('leaves the queue at once when its caller leaves', async () => {
    const pool = open({ maxThreads: 1 });
    const running = pool.run(200, { name: 'spin' });
    const controller = new AbortController();
    const waiting = pool.run(1, { signal: controller.signal });
    controller.abort('gone');
    await expect(waiting).rejects.toBe('gone');
    expect(pool.stats()).toMatchObject({ queued: 0, running: 1 });
    expect(await running).toBe(200);
    expect(pool.stats().replaced).toBe(0);
  });

  it('that uses too much memory fails alone', async () => {
    const pool = open({ resourceLimits: { maxOldGenerationSizeMb: 16 } });
    const other = pool.run(200, { name: 'spin' });
    await expect(pool.run(undefined, { name: 'exhaust' })).rejects.toMatchObject({ code: 'ERR_WORKER_LOST' });
    expect(await other).toBe(200);
    expect(await pool.run(1)).toBe(1);
  });

  it('that ends its thread fails alone', async () => {
    const pool = open({ maxThreads: 1 });
    const exit = expect(pool.run(undefined, { name: 'exit' })).rejects.toMatchObject({ code: 'ERR_WORKER_LOST' });
    const after = pool.run(1);
    await exit;
    expect(await after).toBe(1);
  });

  it('that throws after its end harms nobody', async () => {
    const pool = open({ maxThreads: 1 });
    expect(await pool.run(undefined, { name: 'throwLate' })).toBe('ok');
    await later(50);
    expect(await pool.run(1)).toBe(1);
  });

  it('of an unknown name is refused', async () => {
    await expect(open().run(1, { name: 'nobody' })).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TASK' });
  });

  it('fails when its file cannot be loaded, and the process goes on', async () => {
    for (const minThreads of [0, 1]) {
      const pool = open({ filename: new URL('./fixtures/broken.mjs', import.meta.url), minThreads });
      for (let n = 0; n < 2; n++) {
        await expect(pool.run(1)).rejects.toMatchObject({
          code: 'ERR_WORKER_LOST',
          cause: { message: 'this file cannot be loaded' },
        });
      }
    }
  });
});

describe('the queue', () => {
  it('is bounded: what comes too late is told to come back', async () => {
    const pool = open({ maxThreads: 1, maxQueue: 1 });
    const taken = [pool.run(50, { name: 'spin' }), pool.run(1)];
    await expect(pool.run(2)).rejects.toMatchObject({ code: 'ERR_OVERLOADED', retryAfterMs: expect.any(Number) });
    expect(await Promise.all(taken)).toEqual([50, 1]);
  });

  it('is first come, first served, and nothing runs beside more than maxThreads', async () => {
    const pool = open({ maxThreads: 1 });
    const order: number[] = [];
    await Promise.all([1, 2, 3, 4].map(async (n) => order.push((await pool.run(n)) as number)));
    expect(order).toEqual([1, 2, 3, 4]);
    expect(pool.stats().threads).toBe(1);
  });
});

describe('closing', () => {
  it('lets running tasks end, refuses the rest, and leaves no thread', async () => {
    const pool = open({ maxThreads: 1 });
    const running = pool.run(100, { name: 'spin' });
    const waiting = expect(pool.run(1)).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    const closing = pool.close();
    await waiting;
    await expect(pool.run(1)).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    expect(await running).toBe(100);
    await closing;
    expect(pool.stats().threads).toBe(0);
  });

  it('stops what has not ended in time', async () => {
    const pool = open();
    const running = expect(pool.run(60_000, { name: 'spin' })).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    await pool.close({ timeoutMs: 50 });
    await running;
    expect(pool.stats().threads).toBe(0);
  });
});

it('refuses options that mean nothing', () => {
  expect(() => open({ maxThreads: 0 })).toThrow('@x/pools: WorkerPool.maxThreads must be an integer >= 1, got 0');
  expect(() => open({ minThreads: 3 })).toThrow('minThreads');
  expect(() => open({ filename: '/nowhere.mjs' })).toThrow('does not exist');
});
