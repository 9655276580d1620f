// A task that deleted `process` or broke arrays left its thread to all tasks after it, which failed one and all.
import { WorkerPool } from '@x/pools/workers';
import { expect, test } from 'vitest';

const filename = new URL('../fixtures/vandals.mjs', import.meta.url);

test('a task that breaks what all tasks share harms none after it', async () => {
  await using pool = new WorkerPool({ filename, maxThreads: 1 });
  for (let round = 0; round < 2; round++) {
    for (const name of ['deleteProcess', 'deleteProcessLater']) {
      expect(await pool.run(undefined, { name })).toBe(true);
      expect(await pool.run([1, 2], { name: 'add' })).toBe(3);
    }
    expect(await pool.run(undefined, { name: 'breakArrays' })).toBe(undefined);
    expect(await pool.run([1, 2], { name: 'add' })).toBe(3);
  }
  expect(pool.stats()).toMatchObject({ threads: 1, failed: 0, replaced: 0 });
});
