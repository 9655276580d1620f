// Runs in each thread: loads the worker file, runs its tasks by name, and keeps what a task does after its end from
// harming the one that runs then. Plain JavaScript, since Node 20 runs it before anything is built.
import { AsyncLocalStorage } from 'node:async_hooks';
import { pathToFileURL } from 'node:url';
import { parentPort } from 'node:worker_threads';
import { cloneable, sendable, sendFailuresInstead, thrown } from './task-outcome.mjs';

/** The task, in all that it has begun: `{ over }`. */
const current = new AsyncLocalStorage();

const isLate = () => current.getStore()?.over === true;

process.on('uncaughtException', (error) => {
  // What nobody can be blamed for, and what the running task does, ends the thread as ever.
  // Node does not copy a DOMException to the other thread.
  if (!isLate()) throw error instanceof DOMException ? new Error(error.message) : error;
  parentPort.postMessage({ late: cloneable(error) });
});

/** Tasks share their globals; without this one the thread answers nobody. */
const own = process;
const exit = process.exit;
process.exit = (code) => {
  if (isLate()) throw new Error(`process.exit(${code ?? ''}) by a task that was over`);
  return exit(code);
};

/** The task that was begun last. */
let latest = { over: true };
sendFailuresInstead(() => !latest.over);

// After what stands above, which has to hold for what the file does as it is loaded.
const [file] = process.argv.splice(2, 1);
// Of a module that has an export `then`, `import()` gives what comes of calling that. So it is the export of another one.
const { tasks } = await import(
  `data:text/javascript,${encodeURIComponent(`export * as tasks from ${JSON.stringify(pathToFileURL(file).href)};`)}`
);

/** What piscina calls for a task of that name, which it remembers: with the input, or for one that tells of its progress with `[input, port]`. */
export function entry(kind, name) {
  const task = find(name);
  if (task === undefined) return noSuchTask;
  if (kind === 'task') return (input) => perform(task, input, { over: false }, deaf);
  return ([input, port]) => {
    const call = { over: false };
    const context = {
      progress: (value) => {
        if (!call.over) port.postMessage(value);
      },
    };
    // Between tasks the thread waits outside of its event loop, which alone lets go of the ports of earlier tasks.
    return new Promise(setImmediate).then(() => perform(task, input, call, context));
  };
}

function noSuchTask() {
  throw { noSuchTask: true };
}

/** Nobody listens. One for all, so none may change it. */
const deaf = Object.freeze({ progress() {} });

/** Without a promise where the task gives none: each costs the thread as much as all the rest of this. */
function perform(task, input, call, context) {
  latest = call;
  let lasts = false;
  try {
    const result = current.run(call, task, input, context);
    lasts = typeof result?.then === 'function';
    return lasts ? outcome(result, call) : sendable(result);
  } catch (error) {
    throw thrown(error);
  } finally {
    if (!lasts) end(call);
  }
}

async function outcome(promise, call) {
  try {
    return sendable(await promise);
  } catch (error) {
    throw thrown(error);
  } finally {
    end(call);
  }
}

function end(call) {
  call.over = true;
  if (globalThis.process !== own) globalThis.process = own;
}

/** An export of that name, or a member of a default export that is an object. */
function find(name) {
  for (const holder of [tasks, tasks.default]) {
    if (holder == null || !Object.hasOwn(holder, name)) continue;
    if (typeof holder[name] === 'function') return holder[name];
  }
  return undefined;
}
