import { move, WorkerPool, type WorkerPoolOptions } from '@x/pools/workers';
import { afterEach, describe, expect, it } from 'vitest';

const filename = new URL('./fixtures/tasks.mjs', import.meta.url);
const pools: WorkerPool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(options: Partial<WorkerPoolOptions> = {}): WorkerPool {
  const pool = new WorkerPool({ filename, maxThreads: 1, ...options });
  pools.push(pool);
  return pool;
}

describe('a task that is over', () => {
  it.each(['throwLate', 'rejectLate', 'exitLate'])('harms no task that its thread runs then: %s', async (name) => {
    const pool = open();
    const errors: unknown[] = [];
    const off = pool.on('late', () => {
      throw new Error('a listener that throws is nobody’s failure');
    });
    pool.on('late', (error) => errors.push(error));
    expect(await pool.run(undefined, { name })).toBe('ok');
    // In the same thread, and it lets the timer of the other one run.
    expect(await pool.run(100, { name: 'wait' })).toBe(100);
    await expect.poll(() => pool.stats()).toMatchObject({ completed: 2, failed: 0, replaced: 0, threads: 1, late: 1 });
    const said = name === 'exitLate' ? 'process.exit(4) by a task that was over' : 'late';
    expect(errors).toMatchObject([{ message: said }]);
    off();
  });
});

describe('a task that is running', () => {
  it.each(['throwAside', 'rejectAside'])('and fails outside of what it returns fails alone: %s', async (name) => {
    const pool = open({ maxThreads: 2 });
    const other = pool.run(200, { name: 'spin' });
    await expect(pool.run(undefined, { name })).rejects.toMatchObject({
      code: 'ERR_WORKER_LOST',
      cause: { message: 'aside' },
    });
    expect(await other).toBe(200);
    expect(await pool.run(1)).toBe(1);
    expect(pool.stats()).toMatchObject({ failed: 1, replaced: 1, late: 0 });
  });

  it('rejects with what it has thrown, its code and name included', async () => {
    const pool = open();
    const error = await pool.run('no', { name: 'fail' }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ message: 'no', code: 'ERR_OF_TASK', name: 'RangeError' });
    const odd = await pool.run(undefined, { name: 'failOddly' }).catch((reason: unknown) => reason);
    expect(odd).toMatchObject({ name: 'OddError', message: 'odd', retryAfterMs: 5, cause: { message: 'deep' } });
    expect(odd).not.toHaveProperty('handler');
    expect(String((odd as Error).stack)).toContain('tasks.mjs');
    await expect(pool.run(undefined, { name: 'failWithoutError' })).rejects.toEqual({ reason: 'plain' });
    expect(pool.stats()).toMatchObject({ failed: 3, replaced: 0, threads: 1 });
  });

  it('whose input or result cannot be copied fails alone', async () => {
    const pool = open();
    await expect(pool.run(() => {})).rejects.toMatchObject({ name: 'DataCloneError' });
    await expect(pool.run(undefined, { name: 'uncloneable' })).rejects.toMatchObject({
      code: 'ERR_RESULT_NOT_CLONEABLE',
      cause: { message: expect.stringContaining('could not be cloned') },
    });
    expect(await pool.run(1)).toBe(1);
    expect(pool.stats()).toMatchObject({ failed: 2, replaced: 0, threads: 1 });
  });

  it('is given what was moved, and sees only its own command line', async () => {
    const numbers = new Float64Array([1, 2]);
    const pool = open();
    expect(await pool.run(move(numbers), { name: 'sum' })).toBe(3);
    expect(numbers.byteLength).toBe(0);
    expect(await pool.run(undefined, { name: 'argv' })).toBe(2);
  });
});
