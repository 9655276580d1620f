// What a task came to, in a form that gets to the other thread whole. Plain JavaScript, as task-runner.mjs.
import { MessagePort } from 'node:worker_threads';

/** Sent in the place of a result that cannot be. */
class NotCloneable {
  constructor(reason) {
    this.uncloneable = reason;
  }
}

/**
 * A result that cannot be cloned is found out only when piscina sends it, and would end the thread. To clone each one twice,
 * to see whether it can be, would cost every task what few need. `isBusy`: whether a task runs, which may post what it likes.
 */
export function sendFailuresInstead(isBusy) {
  const { postMessage } = MessagePort.prototype;
  // Without a list of arguments, which a task that has broken arrays would have broken for all others.
  MessagePort.prototype.postMessage = function (message, transfer) {
    // What runs the tasks does not work any more, since one of them has changed what all share: it ends with its thread.
    if (message?.error != null && !isBusy() && isResponse(message) && !isOutcome(message.error)) throw message.error;
    try {
      return postMessage.call(this, message, transfer);
    } catch (error) {
      if (isBusy() || !isResponse(message)) throw error;
      postMessage.call(this, { ...message, result: null, error: new NotCloneable(textOf(error)) });
    }
  };
}

const isResponse = (message) =>
  typeof message === 'object' && message !== null && ['taskId', 'result', 'error'].every((key) => key in message);

const isOutcome = (error) =>
  typeof error === 'object' && ('thrown' in error || 'noSuchTask' in error || 'uncloneable' in error);

/** The result of a task, if it will arrive. */
export function sendable(result) {
  if (receivesCycles || typeof result !== 'object' || !holdsCycle(result)) return result;
  throw new NotCloneable('an error in it is its own cause');
}

/** What a task has thrown, as the pool unpacks it. */
export function thrown(error) {
  return isA(NotCloneable, error) ? error : { thrown: cloneable(error), properties: propertiesOf(error) };
}

/** Before Node 22 an error that is its own cause can be sent but not received, which ends the process that tries. */
const receivesCycles = isReceived(cycle());

function cycle() {
  const error = new Error();
  error.cause = error;
  return error;
}

function isReceived(value) {
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}

function holdsCycle(result) {
  const seen = new Set();
  const left = [result];
  try {
    while (left.length > 0) {
      const value = left.pop();
      if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || seen.has(value)) continue;
      seen.add(value);
      if (isA(Error, value)) {
        if (!isReceived(value)) return true;
      } else if (value instanceof Map) for (const [key, item] of value) left.push(key, item);
      else if (value instanceof Set || Array.isArray(value)) for (const item of value) left.push(item);
      else for (const key of Object.keys(value)) left.push(value[key]);
    }
  } catch {
    // A getter or a proxy that throws will be found out when it is sent.
  }
  return false;
}

/** Of a proxy even the prototype may be a trap. */
function isA(kind, value) {
  try {
    return value instanceof kind;
  } catch {
    return false;
  }
}

/** The error itself, or what of it can be cloned: its causes as well, as far as they go and do not lead back to it. */
export function cloneable(error, depth = 0) {
  try {
    // A DOMException comes out of the clone as an empty object.
    if (isA(DOMException, error)) return new Error(error.message);
    structuredClone(error);
    return error;
  } catch {
    return copyOf(error, depth);
  }
}

function copyOf(error, depth) {
  const copy = new Error(textOf(error));
  try {
    if (!isA(Error, error)) return copy;
    // The clone of an error is of the class that its name says.
    copy.name = String(error.name);
    copy.stack = String(error.stack);
    if (error.cause !== undefined && depth < maxCauses) copy.cause = cloneable(error.cause, depth + 1);
  } catch {
    // Of a proxy anything may be a trap.
  }
  return copy;
}

const maxCauses = 5;

/** The text of what cannot be cloned; even to read that may throw. */
function textOf(error) {
  try {
    return String(error?.message ?? error);
  } catch {
    return 'The task threw something that cannot be read';
  }
}

/** What an error carries beside its message and stack, which is all that the structured clone of one keeps. */
function propertiesOf(error) {
  const kept = {};
  for (const key of keysOf(error)) {
    try {
      kept[key] = structuredClone(error[key]);
    } catch {
      // Functions, and getters that throw, stay here.
    }
  }
  return kept;
}

function keysOf(error) {
  try {
    return isA(Error, error) ? ['name', ...Object.keys(error)] : [];
  } catch {
    return [];
  }
}
