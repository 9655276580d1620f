import { AsyncLocalStorage } from 'node:async_hooks';
import { LoadTimeoutError } from './errors.ts';
import { Flight } from './flight.ts';
import { keep } from './kept-value.ts';
import { duration } from './option-checks.ts';
import type { CacheEntry, StoreRules, Tiers } from './tiers.ts';

/** What a loader is given. Nothing in it belongs to one caller: the load is shared. */
export interface LoadContext {
  readonly key: string;
  /** Aborted when the last caller that waits has gone, or when the load takes longer than `loadTimeoutMs`. */
  readonly signal: AbortSignal;
  /** Lets the value decide how long it is fresh; 0 keeps it out of the cache. Milliseconds. */
  setTtl(ttlMs: number): void;
}

export type Loader<T> = (context: LoadContext) => T | PromiseLike<T>;

/** What one load is to obey. */
export interface LoadRules extends StoreRules {
  negativeTtlMs: number | undefined;
  /** Whether to wait for a load of the same key in another process. */
  waitForOthers: boolean;
}

const FIRST_POLL_MS = 10;
const LONGEST_POLL_MS = 100;

/** Single flight over both tiers: at any time there is at most one load of a key that may still be kept. */
export class Loads {
  readonly #tiers: Tiers;
  /** The latest of each key. */
  readonly #flights = new Map<string, Flight<CacheEntry>>();
  /** All, also those that an invalidation has made way for others. */
  readonly #running = new Set<Flight<CacheEntry>>();
  #idle: (() => void) | undefined;
  /** Shared work belongs to nobody: it runs in the context in which the cache was built. */
  readonly #inOwnContext = AsyncLocalStorage.snapshot();

  constructor(tiers: Tiers) {
    this.#tiers = tiers;
  }

  /** What is not fresh in memory: a stale entry in its window, a load that is under way, or a new one. */
  async resolve(
    key: string,
    loader: Loader<unknown>,
    rules: LoadRules,
    signal: AbortSignal | undefined,
  ): Promise<CacheEntry> {
    const stale = this.#tiers.inMemory(key);
    if (stale?.revalidate) {
      if (this.#inFlight(key) === undefined) this.#launch(key, loader, rules, true);
      this.#tiers.counts.staleServed++;
      return stale;
    }
    const running = this.#inFlight(key);
    if (running !== undefined) this.#tiers.counts.sharedWaits++;
    const found = await (running ?? this.#launch(key, loader, rules, false)).join(signal);
    if (found.stale) this.#tiers.counts.staleServed++;
    if (running !== undefined) return this.#apart(found);
    if (found.tier === 'remote' && !found.stale) this.#tiers.counts.hitsRemote++;
    return found;
  }

  /** Callers of one load must not be able to change each other's value. */
  #apart(found: CacheEntry): CacheEntry {
    const { value } = found;
    if (this.#tiers.settings.copy === 'none' || typeof value !== 'object' || value === null || Object.isFrozen(value)) {
      return found;
    }
    try {
      return { ...found, value: structuredClone(value) };
    } catch {
      return found;
    }
  }

  /** The load under way that a new caller may join. */
  #inFlight(key: string): Flight<CacheEntry> | undefined {
    const flight = this.#flights.get(key);
    return flight === undefined || flight.fence.broken ? undefined : flight;
  }

  /** Resolves when no load runs. Asked once, when no new one is let in. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#running.size === 0) resolve();
      else this.#idle = resolve;
    });
  }

  /** Rejects all callers with the reason, and waits for no loader any longer. */
  abandonAll(reason: unknown): void {
    for (const flight of this.#running) flight.abandon(reason);
  }

  #launch(key: string, loader: Loader<unknown>, rules: LoadRules, background: boolean): Flight<CacheEntry> {
    const flight = new Flight<CacheEntry>(this.#tiers.fences.raise(key, rules.tags), background);
    this.#flights.set(key, flight);
    this.#running.add(flight);
    flight.start(() => this.#fly(flight, loader, rules));
    return flight;
  }

  async #fly(flight: Flight<CacheEntry>, loader: Loader<unknown>, rules: LoadRules): Promise<CacheEntry> {
    const { key } = flight.fence;
    let again = false;
    try {
      if (this.#tiers.remote === undefined) return await this.#load(flight, loader, rules, undefined);
      const found = await this.#throughRemote(flight, loader, rules);
      again = found.stale;
      return found;
    } catch (error) {
      const stale = flight.fence.broken ? undefined : this.#tiers.inMemory(key);
      if (stale?.onError) return stale;
      throw error;
    } finally {
      this.#tiers.fences.lower(flight.fence);
      if (this.#flights.get(key) === flight) {
        this.#flights.delete(key);
        if (again && this.#idle === undefined) this.#launch(key, loader, rules, true);
      }
      this.#running.delete(flight);
      if (this.#running.size === 0) this.#idle?.();
    }
  }

  async #throughRemote(flight: Flight<CacheEntry>, loader: Loader<unknown>, rules: LoadRules): Promise<CacheEntry> {
    const { key } = flight.fence;
    const { clock, remote } = this.#tiers;
    const giveUpAt = clock.now() + (remote?.leaseMs ?? 0);
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 1.5, LONGEST_POLL_MS)) {
      const found = await this.#tiers.fromRemote(key, flight.fence, rules);
      if (found !== undefined && !found.entry.stale) return found.entry;
      if (found !== undefined && !flight.background && this.#tiers.inMemory(key)?.revalidate) return found.entry;
      const lease = await this.#tiers.remotely((tier) => tier.lease(key, found?.version, rules.tags), {
        state: 'unavailable',
      });
      if (lease.state === 'granted') return await this.#underLease(flight, loader, rules, lease.token);
      // A holder that neither delivers nor dies delays nobody beyond the lease.
      const wait = rules.waitForOthers && clock.now() + pollMs < giveUpAt;
      if (lease.state === 'unavailable' || !wait) return await this.#load(flight, loader, rules, undefined);
      // What changed once can be read again at once; what keeps changing is waited for like a lease.
      if (lease.state === 'held' || pollMs > FIRST_POLL_MS) await this.#pause(pollMs, flight.signal);
    }
  }

  async #underLease(
    flight: Flight<CacheEntry>,
    loader: Loader<unknown>,
    rules: LoadRules,
    token: string,
  ): Promise<CacheEntry> {
    const { clock, remote } = this.#tiers;
    const { key } = flight.fence;
    let timer: unknown;
    const renewLater = () => {
      timer = clock.setTimeout(
        () => {
          void this.#tiers.remotely((tier) => tier.renew(key, token), undefined);
          renewLater();
        },
        (remote?.leaseMs ?? 0) / 3,
      );
      (timer as { unref?: () => void }).unref?.();
    };
    renewLater();
    try {
      return await this.#load(flight, loader, rules, token);
    } catch (error) {
      await this.#tiers.remotely((tier) => tier.release(key, token), undefined);
      throw error;
    } finally {
      clock.clearTimeout(timer);
    }
  }

  async #load(
    flight: Flight<CacheEntry>,
    loader: Loader<unknown>,
    rules: LoadRules,
    token: string | undefined,
  ): Promise<CacheEntry> {
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
    counts.loads++;
    if (!flight.background) counts.misses++;
    let value: unknown;
    try {
      flight.signal.throwIfAborted();
      value = await this.#bounded(flight, () => this.#inOwnContext(loader, context));
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
    return this.#settle(flight, value, { ...rules, ttlMs: this.#tiers.jittered(ttlMs) }, token, loadMs);
  }

  /** Keeps a loaded value where it may be kept, and hands it on. */
  async #settle(
    flight: Flight<CacheEntry>,
    value: unknown,
    rules: StoreRules,
    token: string | undefined,
    loadMs: number,
  ): Promise<CacheEntry> {
    const { key } = flight.fence;
    const entry: CacheEntry = { value, tier: 'load', ageMs: 0, ttlMs: rules.ttlMs, stale: false };
    const kept = value === undefined || rules.ttlMs === 0 ? undefined : keep(value, this.#tiers.settings.copy);
    let keepHere = kept !== undefined;
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
    if (!flight.fence.broken) {
      if (kept !== undefined && keepHere) this.#tiers.toMemory(key, kept, rules);
      else this.#tiers.memory.remove(key);
    }
    return kept?.cloned ? { ...entry, value: structuredClone(kept.value) } : entry;
  }

  /** Runs the loader under `loadTimeoutMs`. */
  #bounded(flight: Flight<CacheEntry>, run: () => unknown): unknown {
    const { loadTimeoutMs } = this.#tiers.settings;
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

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#tiers;
    return new Promise((resolve, reject) => {
      const stop = () => {
        clock.clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = clock.setTimeout(() => {
        signal.removeEventListener('abort', stop);
        resolve();
      }, ms);
      signal.addEventListener('abort', stop, { once: true });
    });
  }
}
