import type { Batch } from './batch.ts';

export const PENDING = 0;
export const VALUE = 1;
export const FAILED = 2;
/** Settled or not, `result` is the promise. */
export const KEPT = 3;

/**
 * What one key of a batch came to. Once settled it lets go of its promise, since a value takes less room than a promise
 * for it; where hits are answered with the cached promise itself it keeps that. A plain record: one is made for each load.
 */
export interface Entry<K, V> {
  state: typeof PENDING | typeof VALUE | typeof FAILED | typeof KEPT;
  /** The promise while pending, then the value or the error. */
  result: unknown;
  /** The batch that the key was asked for in, while that has not settled. */
  batch: Batch<K, V> | undefined;
  readonly partition: unknown;
  /** Where it is among the hits of the batch in which it was hit last. A number: writing one into an old object is free. */
  hitAt: number;
  resolve: ((value: V | PromiseLike<V>) => void) | undefined;
}

/** An entry of `batch`, with a promise that `succeed` or `fail` ends. */
export function pendingEntry<K, V>(
  batch: Batch<K, V>,
  partition: unknown,
  state: typeof PENDING | typeof KEPT,
): Entry<K, V> {
  let resolve: Entry<K, V>['resolve'];
  // Only what resolves it is kept: what would reject it, and the executor, are then never allocated.
  const result = new Promise<V>((resolveIt) => {
    resolve = resolveIt;
  });
  return { state, result, batch, partition, hitAt: 0, resolve };
}

/** An entry of no batch. */
export function knownEntry<K, V>(state: Entry<K, V>['state'], result: unknown, partition: unknown): Entry<K, V> {
  return { state, result, batch: undefined, partition, hitAt: 0, resolve: undefined };
}

/** `late`: a promise callback later, as `fail` is. */
export function succeed<K, V>(entry: Entry<K, V>, value: V, late: boolean): void {
  const { resolve } = entry;
  letGo(entry);
  if (entry.state !== KEPT) {
    entry.state = VALUE;
    entry.result = value;
  }
  resolve?.(late ? later(value) : value);
}

export function fail<K, V>(entry: Entry<K, V>, error: unknown): void {
  const { resolve } = entry;
  letGo(entry);
  if (entry.state !== KEPT) {
    entry.state = FAILED;
    entry.result = error;
  }
  resolve?.(rejection(error));
}

// A promise that is resolved with this comes to `value` a promise callback later.
function later<V>(value: V): PromiseLike<V> {
  const then = (resolve: (value: V) => void) => resolve(value);
  return { then } as unknown as PromiseLike<V>;
}

// A promise that is resolved with this is rejected, a promise callback later.
function rejection(error: unknown): PromiseLike<never> {
  const then = (_resolve: unknown, reject: (error: unknown) => void) => reject(error);
  return { then } as unknown as PromiseLike<never>;
}

function letGo<K, V>(entry: Entry<K, V>): void {
  entry.batch = undefined;
  entry.resolve = undefined;
}
