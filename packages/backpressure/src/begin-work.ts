import type { RunContext, Work } from './run-context.ts';

/** Calls `fn`, and then one of the two with what came of it: a synchronous throw counts as a rejection, a plain value as a promise. */
export function beginWork<T, R>(
  fn: Work<T>,
  context: RunContext,
  onValue: (value: T) => R,
  onError: (error: unknown) => R,
): Promise<R> {
  let begun: Promise<T>;
  try {
    begun = Promise.resolve(fn(context));
  } catch (error) {
    begun = Promise.reject(error);
  }
  // As `await` does: a `then` of the promise's own might throw, or call nobody, and the permit would be lost.
  return promiseThen.call(begun, onValue as (value: unknown) => R, onError) as Promise<R>;
}

const promiseThen = Promise.prototype.then;
