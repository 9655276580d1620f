const waiting = new WeakMap<AbortSignal, { readonly listener: () => void; readonly callbacks: Set<() => void> }>();

/**
 * Calls `onAbort` when `signal` aborts, until the returned function is called. A signal has one listener however many wait
 * for it, as those of one request do: Node looks through all listeners of an `AbortSignal` for each one that is added or
 * removed, and warns of a leak at the eleventh.
 */
export function whenAborted(signal: AbortSignal, onAbort: () => void): () => void {
  let entry = waiting.get(signal);
  if (entry === undefined) {
    const callbacks = new Set<() => void>();
    const listener = () => {
      waiting.delete(signal);
      for (const callback of callbacks) callback();
    };
    entry = { listener, callbacks };
    waiting.set(signal, entry);
    signal.addEventListener('abort', listener, { once: true });
  }
  const { listener, callbacks } = entry;
  callbacks.add(onAbort);
  return () => {
    if (!callbacks.delete(onAbort) || callbacks.size > 0 || signal.aborted) return;
    waiting.delete(signal);
    signal.removeEventListener('abort', listener);
  };
}
