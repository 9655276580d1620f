import { whenAborted } from './when-aborted.ts';

/** What the work is given. */
export interface RunContext {
  /** Aborts when the caller does not wait any more. */
  readonly signal: AbortSignal;
}

/** The context of a call that came without a signal. Most calls never look, so the signal is made when one does. */
export class UnabortableContext implements RunContext {
  #signal: AbortSignal | undefined;

  get signal(): AbortSignal {
    this.#signal ??= new AbortController().signal;
    return this.#signal;
  }
}

/** `fn`'s result, or a rejection with the signal's reason as soon as it aborts, whether or not `fn` heeds the signal. */
export function callUntilAborted<T>(fn: (context: RunContext) => PromiseLike<T> | T, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const done = whenAborted(signal, () => reject(signal.reason));
    let result: PromiseLike<T> | T;
    try {
      result = fn({ signal });
    } catch (error) {
      done();
      reject(error);
      return;
    }
    Promise.resolve(result).then(
      (value) => {
        done();
        resolve(value);
      },
      (error) => {
        done();
        reject(error);
      },
    );
  });
}

const SETTLED: Promise<void> = Promise.resolve();

/**
 * A promise that rejects when the caller has had the time to take it: a promise that is rejected from the start is
 * noted by Node as unhandled and struck off the list again, which costs more than all the rest of a refusal.
 */
export function rejectSoon(reason: unknown): Promise<never> {
  return new Promise((_, reject) => {
    void SETTLED.then(() => reject(reason));
  });
}
