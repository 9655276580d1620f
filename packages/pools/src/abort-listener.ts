import { setMaxListeners } from 'node:events';

/** Calls `fn` when `signal` aborts. Returns what takes it back. */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  // One signal for many calls is how a tool fans out: eleven of them are no leak, and Node would print a warning.
  setMaxListeners(0, signal);
  signal.addEventListener('abort', fn, { once: true });
  return () => signal.removeEventListener('abort', fn);
}
