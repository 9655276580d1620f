import { AsyncLocalStorage } from 'node:async_hooks';
import type { CacheEntry } from './entry.ts';
import { LoadTimeoutError } from './errors.ts';
import type { Flight } from './flight.ts';
import { keep } from './kept-value.ts';
import type { LoadRules, StoreRules } from './load-rules.ts';
import { duration } from './option-checks.ts';
import type { Tiers } from './tiers.ts';

/** What a loader is given. Nothing in it belongs to one caller: the load is shared. */
export interface LoadContext {
  readonly key: string;
  /** Aborted when the last caller that waits has gone, or when the load takes longer than `loadTimeoutMs`. */
  readonly signal: AbortSignal;
  /** Lets the value decide how long it is fresh; 0 keeps it out of the cache. Milliseconds. */
  setTtl(ttlMs: number): void;
}

export type Loader<T> = (context: LoadContext) => T | PromiseLike<T>;

/** One load, from the loader to where its value is kept. */
export class LoadRunner {
  readonly #tiers: Tiers;
  /** Shared work belongs to nobody: it runs in the context in which the cache was built. */
  readonly #inOwnContext = AsyncLocalStorage.snapshot();

  constructor(tiers: Tiers) {
    this.#tiers = tiers;
  }

  /** `token` is that of the remote tier's lease, if there is one. */
  async run(flight: Flight, loader: Loader<unknown>, rules: LoadRules, token: string | undefined): Promise<CacheEntry> {
    const { counts, clock, listeners } = this.#tiers;
    const { key } = flight.fence;
    const startedAt = clock.now();
    let chosenTtlMs: number | undefined;
    const context: LoadContext = {
      key,
      signal: flight.signal,
      setTtl: (ttlMs) => {
        chosenTtlMs = duration('setTtl(ttlMs)', ttlMs);
      },
    };
    // What was changed before the load cannot be missed by it.
    flight.fence.changed = false;
    counts.loads++;
    if (!flight.background) this.#tiers.missed(key);
    let value: unknown;
    try {
      flight.signal.throwIfAborted();
      value = await this.#bounded(flight, rules.loadTimeoutMs, () => this.#inOwnContext(loader, context));
    } catch (error) {
      // An abort is nobody's failure, but a time-out is one.
      if (!flight.signal.aborted || error instanceof LoadTimeoutError) {
        counts.loadFailures++;
        listeners.emit('loadFailure', { key, error });
      }
      throw error;
    }
    const loadMs = clock.now() - startedAt;
    listeners.emit('load', { key, durationMs: loadMs });
    const ttlMs = chosenTtlMs ?? (value === null ? rules.negativeTtlMs : undefined) ?? rules.ttlMs;
    return this.#settle(flight, value, { ...rules, ttlMs: this.#tiers.jittered(ttlMs, rules.jitter) }, token, loadMs);
  }

  /** Keeps a loaded value where it may be kept, and hands it on. */
  async #settle(
    flight: Flight,
    value: unknown,
    rules: StoreRules,
    token: string | undefined,
    loadMs: number,
  ): Promise<CacheEntry> {
    const { key } = flight.fence;
    const entry: CacheEntry = { value, tier: 'load', ageMs: 0, ttlMs: rules.ttlMs, stale: false };
    const kept = value === undefined || rules.ttlMs === 0 ? undefined : keep(value, this.#tiers.settings.copy);
    let keepHere = kept !== undefined;
    // A lease that is not followed by a value ends, which is told like everything that happens to the key.
    const told = token !== undefined || this.#tiers.remote === undefined;
    if (token !== undefined) {
      const write =
        kept?.json && !flight.fence.broken
          ? (this.#tiers.remotely(
              (remote) => remote.store(key, token, this.#tiers.remoteWrite(value, rules, loadMs)),
              'unavailable',
            ) as Promise<'stored' | 'lost' | 'unavailable'>)
          : this.#tiers.remotely((remote) => remote.release(key, token), undefined);
      // Lost: another process invalidated the key meanwhile, so that memory must not keep the value either.
      if ((await write) === 'lost') keepHere = false;
    }
    if (!flight.fence.broken && !flight.fence.changed) {
      if (kept !== undefined && keepHere) this.#tiers.toMemory(key, kept, rules, told, loadMs);
      else this.#tiers.memory.remove(key);
    }
    return kept?.cloned ? { ...entry, value: structuredClone(kept.value) } : entry;
  }

  /** Runs the loader under its time-out. */
  #bounded(flight: Flight, loadTimeoutMs: number | undefined, run: () => unknown): unknown {
    const answer = flight.untilAbandoned(run);
    if (loadTimeoutMs === undefined) return answer;
    const { clock } = this.#tiers;
    const timer = clock.setTimeout(
      () => flight.timeOut(new LoadTimeoutError(flight.fence.key, loadTimeoutMs)),
      loadTimeoutMs,
    );
    const stop = () => clock.clearTimeout(timer);
    flight.promise.then(stop, stop);
    return answer;
  }
}
