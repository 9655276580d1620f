/**
 * Calls `onAbort` when `signal` aborts, until the returned function is called. A signal has one listener however many calls wait
 * for it, as those of one request do: Node looks through all listeners of an `AbortSignal` for each one that is added or
 * removed, and warns of a leak at the eleventh.
 */
export function whenAborted(signal: AbortSignal, onAbort: () => void): () => void {
  let waiting = all.get(signal);
  if (waiting === undefined) {
    waiting = new Waiting();
    all.set(signal, waiting);
  }
  const { callbacks, listener } = waiting;
  if (callbacks.size === 0) signal.addEventListener('abort', listener, { once: true });
  callbacks.add(onAbort);
  return () => {
    if (callbacks.delete(onAbort) && callbacks.size === 0) signal.removeEventListener('abort', listener);
  };
}

/** Those who wait for one signal. */
class Waiting {
  readonly callbacks: Set<() => void> = new Set();
  readonly listener = (): void => {
    for (const callback of this.callbacks) callback();
    this.callbacks.clear();
  };
}

/** Kept as long as the signal is: a call waits for it in the queue, and again while it runs. */
const all = new WeakMap<AbortSignal, Waiting>();
