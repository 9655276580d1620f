import { setMaxListeners } from 'node:events';

/** Calls `fn` when `signal` aborts. Returns what takes it back. */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  // One signal for many calls is how a tool fans out: eleven of them are no leak, and Node would print a warning.
  setMaxListeners(0, signal);
  signal.addEventListener('abort', fn, { once: true });
  return () => signal.removeEventListener('abort', fn);
}

/** A signal that aborts with whichever of the two aborts first; `unlink` when it is no longer needed. */
export function eitherSignal(one: AbortSignal, other: AbortSignal): { signal: AbortSignal; unlink(): void } {
  const controller = new AbortController();
  const removals = [one, other].map((signal) => onAbort(signal, () => controller.abort(signal.reason)));
  for (const signal of [one, other]) if (signal.aborted) controller.abort(signal.reason);
  return {
    signal: controller.signal,
    unlink() {
      for (const remove of removals) remove();
    },
  };
}
