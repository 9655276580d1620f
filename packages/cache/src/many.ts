import { itsValue } from './entry.ts';
import { checkKey } from './key.ts';
import { batchOf, type LoadMany } from './load-many.ts';
import type { LoadRules } from './load-rules.ts';
import type { Loads } from './loads.ts';
import type { Tiers } from './tiers.ts';
import { whenAborted } from './when-aborted.ts';

/** Reads and loads of many keys at once: one round trip for all that memory does not have, one load for all that is missing. */
export class Many {
  readonly #tiers: Tiers;
  readonly #loads: Loads;

  constructor(tiers: Tiers, loads: Loads) {
    this.#tiers = tiers;
    this.#loads = loads;
  }

  async get(keys: readonly string[], rules: LoadRules): Promise<unknown[]> {
    const values = this.#inMemory(keys, (key) => this.#loads.useFresh(key)?.value);
    const missing = without(keys, values);
    if (missing.length === 0) return values;
    const found = await this.#fetch(missing, rules);
    for (const key of missing) if (!found.has(key)) this.#tiers.missed(key);
    return filled(values, keys, found);
  }

  async getOrLoad<T>(
    keys: readonly string[],
    loadMany: LoadMany<T>,
    rules: LoadRules,
    signal: AbortSignal | undefined,
  ): Promise<(T | Error)[]> {
    const values = this.#inMemory(keys, () => undefined);
    const missing = without(keys, values);
    if (missing.length === 0) return values as T[];
    // What is fresh but may need a refresh is decided key by key.
    const asked = missing.filter((key) => this.#tiers.inMemory(key)?.stale !== false);
    const found = await unlessAborted(this.#fetch(asked, rules), signal);
    signal?.throwIfAborted();
    const undecided = missing.filter((key) => !found.has(key));
    const loaded = await batchOf(undecided, loadMany, (key, loader) =>
      this.#loads.resolve(key, loader, { ...rules, waitForOthers: false }, signal, itsValue),
    );
    signal?.throwIfAborted();
    return filled(values, keys, new Map([...loaded, ...found])) as (T | Error)[];
  }

  #inMemory(keys: readonly string[], otherwise: (key: string) => unknown): unknown[] {
    const now = this.#tiers.clock.now();
    return keys.map((key) => {
      checkKey(key);
      const value = this.#tiers.memory.read(key, now);
      if (value === undefined) return otherwise(key);
      this.#tiers.hit(key, 'memory');
      return value;
    });
  }

  /** The fresh values that the remote tier has. */
  async #fetch(keys: readonly string[], rules: LoadRules): Promise<Map<string, unknown>> {
    const values = new Map<string, unknown>();
    if (keys.length === 0 || this.#tiers.remote === undefined) return values;
    const fences = keys.map((key) => this.#tiers.fences.raise(key, []));
    const entries = await this.#tiers.remotely((remote) => remote.getMany(keys), []);
    fences.forEach((fence, index) => {
      const found = entries[index];
      const entry = found && this.#tiers.admit(fence.key, found, fence, rules);
      this.#tiers.fences.lower(fence);
      if (entry === undefined || entry.stale) return;
      values.set(fence.key, entry.value);
      this.#tiers.hit(fence.key, 'remote');
      this.#loads.sliding.used(fence.key, entry);
    });
    return values;
  }
}

/** The answer, or the reason of the signal as soon as it is aborted. */
function unlessAborted<T>(answer: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return answer;
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    const stay = whenAborted(signal, leave);
    answer.then(stay, stay);
    answer.then(resolve, reject);
  });
}

/** The keys, each once, that have no value yet. */
function without(keys: readonly string[], values: readonly unknown[]): string[] {
  return [...new Set(keys.filter((_, index) => values[index] === undefined))];
}

/** The values, those that were missing taken from `others`. Null is a value. */
function filled(values: readonly unknown[], keys: readonly string[], others: ReadonlyMap<string, unknown>): unknown[] {
  return values.map((value, index) => (value === undefined ? others.get(keys[index] as string) : value));
}
