import { isNativeError } from 'node:util/types';
import { BatchResultError, MissingKeyError } from './errors.ts';

const CONTRACT =
  'DataLoader must be constructed with a function which accepts Array<key> and returns Promise<Array<value>>';

/** What a key comes to that the batch function's Map does not have. */
export type Missing = 'undefined' | 'null' | 'error';

/** The values in the order of `keys` (`given` is the copy that the batch function had), from an array by position or from a Map by key; throws a `BatchResultError` if they cannot be told apart. */
export function valuesInOrder<K>(
  keys: readonly K[],
  given: readonly K[],
  results: unknown,
  { name, missing, cacheKeyFn }: { name: string | null; missing: Missing; cacheKeyFn: (key: K) => unknown },
): ArrayLike<unknown> {
  if (isMap(results)) return keys.map((key) => fromMap(results, key, cacheKeyFn, name, missing));
  if (!Array.isArray(results) && !isArrayLike(results)) {
    throw new BatchResultError(
      `${CONTRACT}, but the function did not return a Promise of an Array: ${textOf(results)}.${about(name, keys.length)}`,
      keys.length,
    );
  }
  const { length } = results;
  if (length !== keys.length) {
    throw new BatchResultError(
      `${CONTRACT}, but the function did not return a Promise of an Array of the same length as the Array of keys.` +
        `\n\nKeys:\n${shown(keys)}\n\nValues:\n${shown(results)}${about(name, keys.length, length)}`,
      keys.length,
      length,
    );
  }
  if (!sameKeys(keys, given)) {
    throw new BatchResultError(
      `${CONTRACT}, but the function changed or sorted the Array of keys, so that its values cannot be told apart.` +
        about(name, keys.length, length, true),
      keys.length,
      length,
    );
  }
  for (let i = 0; i < length; i += 1) {
    if (results[i] === undefined && !(i in results)) {
      throw new BatchResultError(
        `${CONTRACT}, but the function returned a Promise of a sparse Array: there is no value at ${i}.` +
          about(name, keys.length, length, true),
        keys.length,
        length,
      );
    }
  }
  return results;
}

/** An Error, also one of another realm (`node:vm`, a test runner's sandbox). */
export function isError(value: unknown): value is Error {
  return typeof value === 'object' && value !== null && (value instanceof Error || isNativeError(value));
}

export function hasError(values: ArrayLike<unknown>): boolean {
  for (let i = 0; i < values.length; i += 1) if (isError(values[i])) return true;
  return false;
}

/** Why the batch function's call itself broke the contract. */
export function brokenCall(what: string, name: string | null, keys: number, cause?: unknown): BatchResultError {
  return new BatchResultError(`${CONTRACT}, but the function ${what}.${about(name, keys)}`, keys, undefined, { cause });
}

/** For a message: also of what has no text (`Object.create(null)`), which `String` throws for. */
export function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

export function isArrayLike(value: unknown): value is ArrayLike<unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const { length } = value as { length?: unknown };
  return typeof length === 'number' && (length === 0 || (length > 0 && Object.hasOwn(value, length - 1)));
}

function sameKeys<K>(keys: readonly K[], given: readonly K[]): boolean {
  if (given.length !== keys.length) return false;
  for (let i = 0; i < keys.length; i += 1) {
    // Not `Object.is` first: this runs for every key of every batch.
    if (keys[i] !== given[i] && !Object.is(keys[i], given[i])) return false;
  }
  return true;
}

function isMap(value: unknown): value is ReadonlyMap<unknown, unknown> {
  const { get, has } = (value ?? {}) as { get?: unknown; has?: unknown };
  return typeof value === 'object' && typeof get === 'function' && typeof has === 'function';
}

// By the key itself, else by what it is cached under: two objects that mean the same key are not the same to a Map.
function fromMap<K>(
  map: ReadonlyMap<unknown, unknown>,
  key: K,
  cacheKeyFn: (key: K) => unknown,
  name: string | null,
  missing: Missing,
): unknown {
  const value = map.get(key);
  if (value !== undefined || map.has(key)) return value;
  const cacheKey = cacheKeyFn(key);
  if (cacheKey !== key && map.has(cacheKey)) return map.get(cacheKey);
  if (missing === 'error') return new MissingKeyError(`no value for key ${textOf(key)}.${loaderNamed(name)}`);
  return missing === 'null' ? null : undefined;
}

function loaderNamed(name: string | null): string {
  return name === null ? '' : ` (loader "${name}")`;
}

// Upstream's texts end where ours name the loader and count: where there is no name and one key they are the same.
function about(name: string | null, keys: number, values?: number, always = false): string {
  if (name === null && keys <= 1 && !always) return '';
  const loader = name === null ? 'DataLoader' : `Loader "${name}"`;
  return `\n\n${loader}: ${keys} ${keys === 1 ? 'key' : 'keys'}, ${values === undefined ? 'no array' : `${values} values`}.`;
}

// Enough of them to see what went wrong, not ten thousand.
function shown(list: ArrayLike<unknown>): string {
  const first = Array.prototype.slice.call(list, 0, 100);
  return list.length > 100 ? `${textOf(first)},…` : textOf(first);
}
