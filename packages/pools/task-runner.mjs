// Runs in each thread: loads the worker file, runs its tasks by name, and keeps what a task does after its end from
// harming the one that runs then. Plain JavaScript, since Node 20 runs it before anything is built.
import { AsyncLocalStorage } from 'node:async_hooks';
import { pathToFileURL } from 'node:url';
import { parentPort } from 'node:worker_threads';

/** The task, in all that it has begun: `{ over }`. */
const current = new AsyncLocalStorage();

const isLate = () => current.getStore()?.over === true;

process.on('uncaughtException', (error) => {
  // What nobody can be blamed for, and what the running task does, ends the thread as ever.
  // Node does not copy a DOMException, such as that of a result that cannot be cloned, to the other thread.
  if (!isLate()) throw error instanceof DOMException ? new Error(error.message) : error;
  parentPort.postMessage({ late: cloneable(error) });
});

const exit = process.exit;
process.exit = (code) => {
  if (isLate()) throw new Error(`process.exit(${code ?? ''}) by a task that was over`);
  return exit(code);
};

// After what stands above, which has to hold for what the file does as it is loaded.
const [file] = process.argv.splice(2, 1);
const tasks = await import(pathToFileURL(file).href);

/** What the pool calls, with the name of a task, its input, and where its progress goes if anybody wants to hear of it. */
export async function run([name, input, port]) {
  // Between tasks the thread waits outside of its event loop, which alone lets go of the ports of earlier tasks.
  if (port !== undefined) await new Promise(setImmediate);
  const task = find(name);
  const call = { over: false };
  const context = {
    progress: (value) => {
      if (port !== undefined && !call.over) port.postMessage(value);
    },
  };
  try {
    return await current.run(call, task, input, context);
  } catch (error) {
    throw { thrown: cloneable(error), properties: properties(error) };
  } finally {
    call.over = true;
  }
}

/** An export of that name, or a member of a default export that is an object. */
function find(name) {
  for (const holder of [tasks, tasks.default]) {
    if (holder == null || !Object.hasOwn(holder, name)) continue;
    if (typeof holder[name] === 'function') return holder[name];
  }
  throw { noSuchTask: true };
}

function cloneable(error) {
  try {
    // A DOMException comes out of the clone as an empty object.
    if (error instanceof DOMException) return new Error(error.message);
    structuredClone(error);
    return error;
  } catch {
    return copied(error);
  }
}

/** The text of what cannot be cloned; even to read that may throw. */
function copied(error) {
  try {
    return new Error(String(error?.message ?? error));
  } catch {
    return new Error('The task threw something that cannot be read');
  }
}

/** What an error carries beside its message and stack, which is all that the structured clone of one keeps. */
function properties(error) {
  const kept = {};
  if (!(error instanceof Error)) return kept;
  for (const key of ['name', ...Object.keys(error)]) {
    try {
      kept[key] = structuredClone(error[key]);
    } catch {
      // Functions, and getters that throw, stay here.
    }
  }
  return kept;
}
