// What cannot be copied to another thread ended the thread that had it as a result: every task of such a file cost a new one.
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

async function open(source: string): Promise<WorkerPool> {
  const filename = join(folder, `${Math.random()}.mjs`);
  await writeFile(
    filename,
    `import { threadId } from 'node:worker_threads';\nexport const thread = () => threadId;\n${source}`,
  );
  return new WorkerPool({ filename, maxThreads: 1 });
}

test('a result that cannot be copied is the error of its task alone, in the same thread', async () => {
  await using pool = await open(`
    export default () => Symbol('s');
    export const inside = () => ({ deep: [{ call() {} }] });
    export const later = async () => () => {};
    export const proxy = () => new Proxy({}, {});
    export const getter = () => ({ get bad() { throw new Error('trap'); } });
  `);
  const thread = await pool.run(undefined, { name: 'thread' });
  for (const name of ['default', 'inside', 'later', 'proxy', 'getter', 'default']) {
    await expect(pool.run(undefined, { name }), name).rejects.toMatchObject({
      code: 'ERR_RESULT_NOT_CLONEABLE',
      message: 'WorkerPool workers: the result of the task cannot be copied to another thread',
      cause: { message: expect.stringMatching(/could not be cloned|trap/) },
    });
    expect(await pool.run(undefined, { name: 'thread' })).toBe(thread);
  }
  expect(pool.stats()).toMatchObject({ failed: 6, replaced: 0, running: 0, threads: 1 });
});

test('an error that is its own cause, which Node 20 sends and cannot receive, ends neither the thread nor the process', async () => {
  await using pool = await open(`
    const error = new Error('first', { cause: new Error('second') });
    error.cause.cause = error;
    const holders = { plain: error, list: [[error]], deep: { a: { b: error } }, map: new Map([['a', error]]), set: new Set([error]) };
    export default (where) => holders[where];
    export const later = async (where) => holders[where];
    export const tell = (_input, { progress }) => { progress(1); progress(error); progress(2); };
  `);
  const thread = await pool.run(undefined, { name: 'thread' });
  for (const where of ['plain', 'list', 'deep', 'map', 'set']) {
    for (const name of ['default', 'later']) {
      const outcome = await pool.run(where, { name, timeoutMs: 5_000 }).catch((error) => error.code);
      if (process.versions.node.startsWith('20.')) expect(outcome, where).toBe('ERR_RESULT_NOT_CLONEABLE');
    }
  }
  const told: unknown[] = [];
  await pool.run(undefined, { name: 'tell', onProgress: (value) => told.push(value) });
  expect(told.filter((value) => typeof value === 'number')).toEqual([1, 2]);
  expect(await pool.run(undefined, { name: 'thread' })).toBe(thread);
});

test('an error that cannot be copied keeps what can be, and costs no thread', async () => {
  await using pool = await open(`
    export const withFunction = () => { throw Object.assign(new RangeError('no'), { code: 'E', handler() {} }); };
    export const withCause = () => { throw new RangeError('no', { cause: () => {} }); };
    export const cyclic = () => { const e = new TypeError('no'); e.cause = e; e.self = e; throw e; };
    export const keysTrap = () => { throw new Proxy(new Error('no'), { ownKeys() { throw new Error('trap'); } }); };
    export const kindTrap = () => { throw new Proxy(new Error('no'), { getPrototypeOf() { throw new Error('trap'); } }); };
    export const thenTrap = () => ({ get then() { throw new Error('no'); } });
    export const later = async () => { throw () => {}; };
  `);
  const thread = await pool.run(undefined, { name: 'thread' });
  await expect(pool.run(1, { name: 'withFunction' })).rejects.toMatchObject({
    name: 'RangeError',
    message: 'no',
    code: 'E',
  });
  await expect(pool.run(1, { name: 'withCause' })).rejects.toMatchObject({ name: 'RangeError', message: 'no' });
  const cyclic = await pool.run(1, { name: 'cyclic' }).catch((error) => error);
  expect(cyclic).toMatchObject({ name: 'TypeError', message: 'no', cause: { message: 'no' } });
  expect(cyclic).toBeInstanceOf(TypeError);
  expect(cyclic.stack).toContain(folder);
  for (const name of ['keysTrap', 'kindTrap', 'thenTrap']) {
    await expect(pool.run(1, { name }), name).rejects.toThrow('no');
  }
  await expect(pool.run(1, { name: 'later' })).rejects.toThrow('() => {}');
  expect(await pool.run(undefined, { name: 'thread' })).toBe(thread);
  expect(pool.stats()).toMatchObject({ failed: 7, replaced: 0, threads: 1 });
});

test('what a task itself posts on its ports fails in the task, as ever', async () => {
  await using pool = await open(`
    import { MessageChannel } from 'node:worker_threads';
    export default () => {
      const { port1 } = new MessageChannel();
      try { port1.postMessage({ taskId: 1, result: () => {}, error: null }); } catch (error) { return error.name; } finally { port1.close(); }
    };
  `);
  expect(await pool.run(undefined)).toBe('DataCloneError');
});

test('options that are none are refused by what was expected and what was got', async () => {
  const filename = join(folder, 'none.mjs');
  await writeFile(filename, 'export default (input) => input;');
  const make = (options: unknown) => () => new WorkerPool(options as never);
  expect(make(undefined)).toThrow('@x/pools: WorkerPool.options must be an object, got undefined');
  expect(make(null)).toThrow('@x/pools: WorkerPool.options must be an object, got null');
  expect(make({})).toThrow('@x/pools: WorkerPool.filename must be a path or a URL, got undefined');
  expect(make({ filename: null })).toThrow('@x/pools: WorkerPool.filename must be a path or a URL, got null');
  expect(make({ filename: 5 })).toThrow('@x/pools: WorkerPool.filename must be a path or a URL, got 5');
  expect(make({ filename, name: 5 })).toThrow('@x/pools: WorkerPool.name must be a string, got 5');
  expect(make({ filename, env: 'A=1' })).toThrow('@x/pools: WorkerPool.env must be an object, got a string');
  expect(make({ filename, resourceLimits: null })).toThrow('WorkerPool.resourceLimits must be an object, got null');
  expect(make({ filename, resourceLimits: { stackSizeMb: '4' } })).toThrow(
    'WorkerPool.resourceLimits.stackSizeMb must be a number >= 0, got "4"',
  );
  for (const minThreads of [0, 1]) {
    expect(make({ filename, minThreads, workerData: { call() {} } })).toThrow(
      'WorkerPool.workerData must be what can be',
    );
  }
  await using pool = new WorkerPool({ filename, maxThreads: 1 });
  const run = (options: unknown) => pool.run(1, options as never);
  await expect(run(null)).rejects.toThrow('@x/pools: WorkerPool.run.options must be an object, got null');
  await expect(run({ signal: null })).rejects.toThrow('WorkerPool.run.signal must be an AbortSignal, got null');
  await expect(run({ signal: {} })).rejects.toThrow('WorkerPool.run.signal must be an AbortSignal, got an object');
  await expect(run({ name: 5 })).rejects.toThrow('WorkerPool.run.name must be a string, got 5');
  await expect(run({ onProgress: 5 })).rejects.toThrow('WorkerPool.run.onProgress must be a function, got 5');
  await expect(run({ transfer: null })).resolves.toBe(1);
  await expect(run({ transfer: 5 })).rejects.toThrow('WorkerPool.run.transfer must be an array, got 5');
  await expect(run({ timeoutMs: null })).rejects.toThrow('WorkerPool.run.timeoutMs must be a number >= 1');
  expect(pool.stats()).toMatchObject({ running: 0, queued: 0, replaced: 0 });
  expect(await pool.run(1)).toBe(1);
});
