import { AsyncLocalStorage } from 'node:async_hooks';
import { defineWorker, WorkerPool } from '@x/pools/workers';
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest';

const filename = new URL('./fixtures/tasks.mjs', import.meta.url);
const pools: { close(options: { timeoutMs: number }): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(): WorkerPool {
  const pool = new WorkerPool({ filename, maxThreads: 1 });
  pools.push(pool);
  return pool;
}

describe('progress', () => {
  it('is told of in order and whole, before the result', async () => {
    const seen: unknown[] = [];
    const result = await open().run(5_000, { name: 'count', onProgress: (n) => seen.push(n) });
    expect(result).toBe(5_000);
    expect(seen).toEqual(Array.from({ length: 5_000 }, (_, index) => index + 1));
  });

  it('is told of while the thread is still computing', async () => {
    const pool = open();
    await pool.run(0);
    let over = false;
    let during = 0;
    await pool
      .run(10, {
        name: 'countSlowly',
        onProgress: () => {
          if (!over) during++;
        },
      })
      .then(() => {
        over = true;
      });
    expect(during).toBe(10);
    // The first was told of long before the last: an abort in between keeps the rest from being told.
    const controller = new AbortController();
    const seen: unknown[] = [];
    const call = pool.run(1_000, {
      name: 'countSlowly',
      signal: controller.signal,
      onProgress: (n) => {
        seen.push(n);
        if (n === 2) controller.abort('enough');
      },
    });
    await expect(call).rejects.toBe('enough');
    const told = seen.length;
    expect(await pool.run(1)).toBe(1);
    expect(seen.length).toBe(told);
  });

  it('comes from a task that nobody listens to as well, and from none that is over', async () => {
    const pool = open();
    expect(await pool.run(3, { name: 'count' })).toBe(3);
    const seen: unknown[] = [];
    expect(await pool.run(undefined, { name: 'progressAfterwards', onProgress: (value) => seen.push(value) })).toBe(
      'done',
    );
    expect(await pool.run(30, { name: 'wait' })).toBe(30);
    expect(seen).toEqual([]);
  });

  it('leaves nothing behind in the thread', async () => {
    const pool = open();
    const before = (await pool.run(undefined, { name: 'ports' })) as number;
    for (let n = 0; n < 100; n++) await pool.run(1, { name: 'count', onProgress: () => {} });
    expect(await pool.run(undefined, { name: 'ports' })).toBeLessThan(before + 10);
  });

  it('that its listener cannot take harms nobody', async () => {
    const pool = open();
    const call = pool.run(3, {
      name: 'count',
      onProgress: () => {
        throw new Error('no');
      },
    });
    expect(await call).toBe(3);
    expect(pool.stats()).toMatchObject({ completed: 1, failed: 0 });
  });

  it("is told of in its own caller's context, however long it waited", async () => {
    const pool = open();
    const caller = new AsyncLocalStorage<string>();
    const seen = new Set<string | undefined>();
    const run = (name: string) =>
      caller.run(name, () =>
        pool.run(2, { name: 'countSlowly', onProgress: (n) => seen.add(`${n} ${caller.getStore()}`) }),
      );
    await Promise.all([run('alice'), run('bob')]);
    expect([...seen].sort()).toEqual(['1 alice', '1 bob', '2 alice', '2 bob']);
  });
});

it('progress that cannot be received is left out, also when it is fetched at the end of its task', async () => {
  const { ProgressPort } = (await import(new URL('../src/workers/progress-port.ts', import.meta.url).href)) as {
    ProgressPort: new (
      onProgress: (value: unknown) => void,
    ) => { readonly remote: { postMessage(value: unknown): void }; finish(): void };
  };
  const error = new Error('no');
  error.cause = error;
  const told: unknown[] = [];
  const port = new ProgressPort((value) => told.push(value));
  for (const value of [1, error, 2]) port.remote.postMessage(value);
  port.finish();
  expect(told.filter((value) => typeof value === 'number')).toEqual([1, 2]);
});

describe('defineWorker', () => {
  it('declares the tasks of a file as its default export', async () => {
    const pool = new WorkerPool({ filename: new URL('./fixtures/grouped-tasks.mjs', import.meta.url), maxThreads: 1 });
    pools.push(pool);
    expect(await pool.run(4, { name: 'double' })).toBe(8);
    expect(await pool.run([], { name: 'constructorName' })).toBe('Array');
    // Only what the file itself gives is a task: names may come from strangers.
    for (const name of ['constructor', 'toString', '__proto__', 'default', 'nobody']) {
      await expect(pool.run(1, { name }), name).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TASK' });
    }
    expect(pool.stats()).toMatchObject({ replaced: 0, threads: 1 });
  });

  it('knows names, inputs, results and progress', () => {
    const tasks = defineWorker({
      mean: (numbers: readonly number[], { progress }: { progress(share: number): void }) => {
        progress(0.5);
        return numbers.length;
      },
      upper: async (text: string) => text.toUpperCase(),
    });
    type Pool = WorkerPool<typeof tasks>;
    const run = (pool: Pool) =>
      pool.run([1], { name: 'mean', onProgress: (share) => expectTypeOf(share).toBeNumber() });
    const upper = (pool: Pool) => pool.run('a', { name: 'upper' });
    expectTypeOf(run).returns.resolves.toBeNumber();
    expectTypeOf(upper).returns.resolves.toBeString();
    // @ts-expect-error: there is no such task.
    const wrongName = (pool: Pool) => pool.run('a', { name: 'lower' });
    // @ts-expect-error: its input is a text.
    const wrongInput = (pool: Pool) => pool.run(1, { name: 'upper' });
    expect([wrongName, wrongInput]).toHaveLength(2);
    expect(() => defineWorker({ no: 1 } as never)).toThrow('task "no" must be a function, got number');
  });
});
