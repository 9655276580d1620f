import { setMaxListeners } from 'node:events';
import { checkCount, checkFunction, checkSignal } from './option-checks.ts';
import { whenAborted } from './when-aborted.ts';

export interface MapLimitOptions {
  /** Stops pulling, aborts what runs, and rejects with its reason at once. */
  signal?: AbortSignal | undefined;
}

/** What `fn` is given beside the item. */
export interface ItemContext {
  /** Aborts when the result is not wanted any more: the caller's signal, or another item that failed. */
  readonly signal: AbortSignal;
  /** The item's position, from 0. */
  readonly index: number;
}

/**
 * Applies `fn` to each item, at most `limit` at a time, and resolves with the results in the order of the items. Items
 * are pulled when there is room for them, one at a time. The first failure rejects at once, stops the rest and closes the iterator.
 */
export function mapLimit<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  fn: (item: T, context: ItemContext) => R | PromiseLike<R>,
  options: MapLimitOptions = {},
): Promise<R[]> {
  return fanOut(items, limit, fn, options, async (run) => run());
}

/** As `mapLimit`, but each item has its outcome, good or bad, and a failure stops nothing. Rejects on abort, or when `items` itself fails. */
export function settleLimit<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  fn: (item: T, context: ItemContext) => R | PromiseLike<R>,
  options: MapLimitOptions = {},
): Promise<PromiseSettledResult<Awaited<R>>[]> {
  return fanOut(items, limit, fn, options, async (run) => {
    try {
      return { status: 'fulfilled', value: await run() };
    } catch (reason) {
      return { status: 'rejected', reason };
    }
  });
}

async function fanOut<T, R, O>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  fn: (item: T, context: ItemContext) => R | PromiseLike<R>,
  options: MapLimitOptions,
  outcome: (run: () => R | PromiseLike<R>) => Promise<O>,
): Promise<O[]> {
  checkIterable(items);
  checkCount('limit', limit, 1, true);
  checkFunction('fn', fn);
  const { signal } = options;
  checkSignal(signal);
  signal?.throwIfAborted();
  const iterator = iteratorOf(items);
  const stop = new AbortController();
  // It is handed to `limit` at once: eleven listeners are no leak, of which Node would warn.
  setMaxListeners(0, stop.signal);
  const results: O[] = [];

  return new Promise<O[]>((resolve, reject) => {
    let index = 0;
    let running = 0;
    let pulling = false;
    let inNext = false;
    let exhausted = false;

    const fail = (error: unknown): void => {
      if (stop.signal.aborted) return;
      stopListening?.();
      reject(error);
      stop.abort(error);
      // A generator that has not come back yet cannot be closed: then `pull` does it.
      if (!exhausted && !inNext) void closeIterator(iterator);
    };
    const stopListening = signal && whenAborted(signal, () => fail(signal.reason));
    // One pull at a time: an iterator need not bear being asked again before it has answered.
    const pull = async (): Promise<void> => {
      if (pulling) return;
      pulling = true;
      try {
        while (!exhausted && !stop.signal.aborted && running < limit) {
          inNext = true;
          const answer: IteratorResult<T> | PromiseLike<IteratorResult<T>> = iterator.next();
          inNext = false;
          if (stop.signal.aborted) void closeIterator(iterator);
          const next = isThenable(answer) ? await answer : answer;
          if (stop.signal.aborted) return;
          if (next.done) exhausted = true;
          else void work(next.value, index++);
        }
      } catch (error) {
        exhausted = true;
        fail(error);
      } finally {
        pulling = false;
      }
      if (exhausted && running === 0 && !stop.signal.aborted) {
        stopListening?.();
        resolve(results);
      }
    };
    const work = async (item: T, at: number): Promise<void> => {
      running++;
      try {
        results[at] = await outcome(() => fn(item, { signal: stop.signal, index: at }));
      } catch (error) {
        fail(error);
      }
      running--;
      void pull();
    };

    void pull();
  });
}

function checkIterable(items: unknown): void {
  const { [Symbol.asyncIterator]: async, [Symbol.iterator]: sync } = (items ?? {}) as Record<symbol, unknown>;
  if (typeof async === 'function' || typeof sync === 'function') return;
  throw new TypeError(`@x/backpressure: items must be an iterable or an async iterable, got ${String(items)}`);
}

function iteratorOf<T>(items: Iterable<T> | AsyncIterable<T>): Iterator<T> | AsyncIterator<T> {
  const { [Symbol.asyncIterator]: async } = items as Partial<AsyncIterable<T>>;
  return async?.call(items) ?? (items as Iterable<T>)[Symbol.iterator]();
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T>).then === 'function';
}

/** Lets a generator run its `finally`. Not waited for: one that is stuck in `next` would keep the caller. */
async function closeIterator(iterator: Iterator<unknown> | AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.();
  } catch {
    // The caller already has an error, and it came first.
  }
}
