import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkerPool } from '@x/pools/workers';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'worker-files-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function pool(source: string, options: { minThreads?: number; timeoutMs?: number } = {}) {
  const filename = join(folder, `${Math.random()}.mjs`);
  await writeFile(filename, source);
  return new WorkerPool({ filename, maxThreads: 1, ...options });
}

test('what cannot be handed over is the error of its caller, and holds no thread', async () => {
  await using workers = await pool('export default (input) => input;');
  for (const transfer of [new ArrayBuffer(8), 5]) {
    await expect(workers.run(1, { transfer: transfer as never })).rejects.toBeInstanceOf(TypeError);
  }
  // What Node itself says of an object that is nothing to hand over has changed with Node 22.
  const name = process.versions.node.startsWith('20.') ? 'TypeError' : 'DataCloneError';
  await expect(workers.run(1, { transfer: [{}] as never })).rejects.toMatchObject({ name });
  const twice = new ArrayBuffer(8);
  await expect(workers.run(twice, { transfer: [twice, twice] })).rejects.toMatchObject({ name: 'DataCloneError' });
  expect(workers.stats()).toMatchObject({ running: 0, queued: 0, failed: 4, replaced: 0 });
  expect(await workers.run(2)).toBe(2);
});

test('a worker file that ends its thread as it is loaded is told of at once', async () => {
  for (const minThreads of [0, 1]) {
    await using workers = await pool('process.exit(3);', { minThreads, timeoutMs: 15_000 });
    for (let n = 0; n < 2; n++) await expect(workers.run(1)).rejects.toMatchObject({ code: 'ERR_WORKER_LOST' });
    expect(workers.stats()).toMatchObject({ running: 0, queued: 0, failed: 2, timedOut: 0 });
  }
});

test('whatever a task throws is told of, and does not cost the thread', async () => {
  await using workers = await pool(`
    export const domException = () => { throw new DOMException('no', 'AbortError'); };
    export const getter = () => {
      throw Object.defineProperty(new RangeError('odd'), 'bad', { enumerable: true, get() { throw new Error('trap'); } });
    };
    export const proxy = () => { throw new Proxy({}, { get() { throw new Error('trap'); } }); };
    export const nothing = () => { throw undefined; };
    export const symbol = () => { throw Symbol('s'); };
  `);
  await expect(workers.run(1, { name: 'domException' })).rejects.toMatchObject({ name: 'AbortError', message: 'no' });
  await expect(workers.run(1, { name: 'getter' })).rejects.toMatchObject({ name: 'RangeError', message: 'odd' });
  await expect(workers.run(1, { name: 'proxy' })).rejects.toThrow('cannot be read');
  await expect(workers.run(1, { name: 'nothing' })).rejects.toBeUndefined();
  await expect(workers.run(1, { name: 'symbol' })).rejects.toThrow('Symbol(s)');
  expect(workers.stats()).toMatchObject({ failed: 5, replaced: 0 });
});

test('a thousand tasks that wait are let go of at once by one signal', async () => {
  await using workers = await pool('export default (ms) => new Promise((resolve) => setTimeout(resolve, ms, ms));');
  const controller = new AbortController();
  const { signal } = controller;
  const calls = Array.from({ length: 1_001 }, () => workers.run(60_000, { signal }).catch((error) => error));
  expect(workers.stats()).toMatchObject({ running: 1, queued: 1_000 });
  controller.abort('gone');
  expect(new Set(await Promise.all(calls))).toEqual(new Set(['gone']));
  expect(workers.stats()).toMatchObject({ running: 0, queued: 0, failed: 0, replaced: 1 });
  expect(await workers.run(1)).toBe(1);
});
