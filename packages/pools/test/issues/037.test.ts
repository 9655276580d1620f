// A task that had broken promises or texts, or locked `process`, left its thread to all tasks after it, which failed one and all. A worker
// file with an export `then` was waited for until the time of its tasks was over.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkerPool } from '@x/pools/workers';
import { expect, test } from 'vitest';

const filename = new URL('../fixtures/vandals.mjs', import.meta.url);

test.each(['breakPromises', 'breakTexts'])(
  'a thread that a task has spoiled is replaced by the next task: %s',
  async (name) => {
    await using pool = new WorkerPool({ filename, maxThreads: 1 });
    expect(await pool.run(undefined, { name })).toBe(undefined);
    await expect(pool.run([1, 2], { name: 'add' })).rejects.toMatchObject({
      code: 'ERR_WORKER_LOST',
      cause: { message: expect.stringMatching(/broken|No handler/) },
    });
    for (const task of ['add', 'addLater', 'add']) expect(await pool.run([1, 2], { name: task })).toBe(3);
    expect(pool.stats()).toMatchObject({ threads: 1, completed: 4, failed: 1, replaced: 1 });
  },
);

test('a task that locks `process` fails alone', async () => {
  await using pool = new WorkerPool({ filename, maxThreads: 1 });
  await expect(pool.run(undefined, { name: 'lockProcess' })).rejects.toMatchObject({ code: 'ERR_WORKER_LOST' });
  for (let n = 0; n < 2; n++) expect(await pool.run([1, 2], { name: 'add' })).toBe(3);
  expect(pool.stats()).toMatchObject({ threads: 1, failed: 1, replaced: 1 });
});

test('an export `then` is a task like any other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'worker # files 100%-'));
  try {
    const source = 'export const then = (n) => n + 1; export default (n) => n;';
    for (const [name, text] of [
      ['named.mjs', source],
      ['grouped.mjs', 'export default { then: (n) => n + 1, default: (n) => n };'],
      ['common.cjs', 'exports.then = (n) => n + 1; exports.default = (n) => n;'],
    ] as const) {
      const file = join(folder, name);
      await writeFile(file, text);
      await using pool = new WorkerPool({ filename: file, maxThreads: 1 });
      expect(await pool.run(1, { name: 'then' }), name).toBe(2);
      expect(await pool.run(1), name).toBe(1);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('what a task posts, or that there is none of its name, costs no thread', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'worker-files-'));
  try {
    const file = join(folder, 'posting.mjs');
    await writeFile(
      file,
      `
      import { MessageChannel, threadId } from 'node:worker_threads';
      const { port1, port2 } = new MessageChannel();
      const heard = [];
      port2.on('message', ({ error }) => heard.push(error)).unref();
      const later = () => new Promise((resolve) => setTimeout(resolve, 50));
      export const post = async () => {
        port1.postMessage({ taskId: 1, result: null, error: 'running' });
        await later();
      };
      export const postLate = () => {
        setImmediate(() => port1.postMessage({ error: 'late' }));
      };
      export const told = async () => {
        await later();
        return { heard, threadId };
      };
    `,
    );
    await using pool = new WorkerPool({ filename: file, maxThreads: 1 });
    const { threadId } = (await pool.run(undefined, { name: 'told' })) as { threadId: number };
    await pool.run(undefined, { name: 'post' });
    await pool.run(undefined, { name: 'postLate' });
    await expect(pool.run(undefined, { name: 'none' })).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TASK' });
    // A task that tells of its progress begins one turn later, in which nothing is running.
    const told = await pool.run(undefined, { name: 'told', onProgress: () => {} });
    expect(told).toEqual({ heard: ['running', 'late'], threadId });
    expect(pool.stats()).toMatchObject({ threads: 1, replaced: 0, late: 0 });
  } finally {
    await rm(folder, { recursive: true });
  }
});
