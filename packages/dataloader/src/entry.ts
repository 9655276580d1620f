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
  reject: ((error: unknown) => void) | undefined;
}

/** An entry of `batch`, with a promise that `settle` ends. */
export function pendingEntry<K, V>(
  batch: Batch<K, V>,
  partition: unknown,
  state: typeof PENDING | typeof KEPT,
): Entry<K, V> {
  const entry = knownEntry<K, V>(state, undefined, partition);
  entry.batch = batch;
  // Made and called in one place, the executor is inlined, and neither it nor its scope is ever allocated.
  entry.result = new Promise<V>((resolve, reject) => {
    entry.resolve = resolve;
    entry.reject = reject;
  });
  return entry;
}

/** An entry of no batch. */
export function knownEntry<K, V>(state: Entry<K, V>['state'], result: unknown, partition: unknown): Entry<K, V> {
  return {
    state,
    result,
    batch: undefined,
    partition,
    hitAt: 0,
    resolve: undefined,
    reject: undefined,
  };
}

export function succeed<K, V>(entry: Entry<K, V>, value: V): void {
  const { resolve } = entry;
  letGo(entry);
  if (entry.state !== KEPT) {
    entry.state = VALUE;
    entry.result = value;
  }
  resolve?.(value);
}

export function fail<K, V>(entry: Entry<K, V>, error: unknown): void {
  const { reject } = entry;
  letGo(entry);
  if (entry.state !== KEPT) {
    entry.state = FAILED;
    entry.result = error;
  }
  reject?.(error);
}

function letGo<K, V>(entry: Entry<K, V>): void {
  entry.batch = undefined;
  entry.resolve = undefined;
  entry.reject = undefined;
}
