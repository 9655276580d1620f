import { onAbort } from '../abort-listener.ts';

/** What `work` gives, or the signal's reason as soon as it aborts; what `work` does after that is nobody's concern. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const remove = onAbort(signal, () => reject(signal.reason));
    // What a caller without types gives may be no promise.
    Promise.resolve(work).then(resolve, reject).finally(remove);
    if (signal.aborted) reject(signal.reason);
  });
}
