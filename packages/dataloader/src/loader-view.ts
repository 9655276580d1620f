import { isArrayLike } from './batch-results.ts';
import type { KeyedLoads, LoadOptions } from './keyed-loads.ts';

/** What a loader and a request's view of it have in common. */
export interface Loader<K, V> {
  readonly name: string | null;
  load(key: K, options?: LoadOptions): Promise<V>;
  loadMany(keys: ArrayLike<K>, options?: LoadOptions): Promise<Array<V | Error>>;
  clear(key: K): this;
  clearAll(): this;
  prime(key: K, value: V | PromiseLike<V> | Error): this;
}

/** A cache over the batches of a loader that others use too. */
export class LoaderView<K, V, C> implements Loader<K, V> {
  readonly name: string | null;
  readonly #loads: KeyedLoads<K, V, C>;

  constructor(name: string | null, loads: KeyedLoads<K, V, C>) {
    this.name = name;
    this.#loads = loads;
  }

  load(key: K, options?: LoadOptions): Promise<V> {
    return this.#loads.load(key, options);
  }

  loadMany(keys: ArrayLike<K>, options?: LoadOptions): Promise<Array<V | Error>> {
    return loadEach(this, keys, options);
  }

  clear(key: K): this {
    this.#loads.clear(key);
    return this;
  }

  clearAll(): this {
    this.#loads.clearAll();
    return this;
  }

  prime(key: K, value: V | PromiseLike<V> | Error): this {
    this.#loads.prime(key, value);
    return this;
  }
}

/** The values of many keys through `load`, which a subclass may have replaced. */
export function loadEach<K, V>(
  loader: Loader<K, V>,
  keys: ArrayLike<K>,
  options: LoadOptions | undefined,
): Promise<Array<V | Error>> {
  if (!isArrayLike(keys)) {
    throw new TypeError(`The loader.loadMany() function must be called with Array<key> but got: ${keys as unknown}.`);
  }
  const loads: Promise<V | Error>[] = [];
  for (let i = 0; i < keys.length; i += 1) loads.push(valueOrError(loader.load(keys[i] as K, options)));
  return Promise.all(loads);
}

// Not `promise.catch`, which calls a `then` that others who have the same promise may have replaced.
async function valueOrError<V>(promise: Promise<V>): Promise<V | Error> {
  try {
    return await promise;
  } catch (error) {
    return error as Error;
  }
}
