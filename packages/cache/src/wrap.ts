import type { GetOrSetOptions } from './cache.ts';
import { checkLoadOptions, type LoadOptions } from './load-rules.ts';
import type { Loader } from './load-runner.ts';
import { bag, callable, optional, text } from './option-checks.ts';

export interface WrapOptions<Args extends unknown[]> extends LoadOptions {
  /** Sets the results of this function apart from those of others. */
  name: string;
  /** What the key is made of instead of the arguments; a JSON value. */
  key?: ((...args: Args) => unknown) | undefined;
}

interface LoadingCache {
  getOrSet<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<T>;
}

export function wrapWith<Args extends unknown[], T>(
  cache: LoadingCache,
  keyFor: (name: string, args: readonly unknown[]) => string,
  fn: (...args: Args) => T | PromiseLike<T>,
  options: WrapOptions<Args>,
): (...args: Args) => Promise<T> {
  callable('wrap(fn)', fn);
  const { name, key, ...storing } = bag('wrap options', options);
  text('name', name);
  optional(callable, 'key', key);
  checkLoadOptions(storing);
  return async (...args) => cache.getOrSet(keyFor(name, key ? [key(...args)] : args), () => fn(...args), storing);
}
