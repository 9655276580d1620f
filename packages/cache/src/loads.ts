import { earlyDrawMs } from './early-refresh.ts';
import type { CacheEntry, HeldEntry } from './entry.ts';
import { CacheClosedError, CacheOverloadedError } from './errors.ts';
import { Flight, type FlightOptions } from './flight.ts';
import { LeasedLoads } from './leased-loads.ts';
import type { LoadRules } from './load-rules.ts';
import { type Loader, LoadRunner } from './load-runner.ts';
import { Sliding } from './sliding.ts';
import type { Tiers } from './tiers.ts';

/** Single flight over both tiers: at any time there is at most one load of a key that may still be kept. */
export class Loads {
  readonly sliding: Sliding;
  readonly #tiers: Tiers;
  readonly #runner: LoadRunner;
  readonly #leased: LeasedLoads;
  /** The latest of each key. */
  readonly #flights = new Map<string, Flight>();
  /** Those that still run though an invalidation has made way for others. */
  readonly #overtaken = new Set<Flight>();
  #closing = false;
  #idle: (() => void) | undefined;

  constructor(tiers: Tiers) {
    this.#tiers = tiers;
    this.#runner = new LoadRunner(tiers);
    this.#leased = new LeasedLoads(tiers, this.#runner);
    this.sliding = new Sliding(tiers);
  }

  /**
   * What a plain read of memory does not give: a fresh entry that may need more, a stale one in its window, a load under way, or a new
   * one. The caller gets what `part` takes of it, without another promise for that.
   */
  async resolve<T>(
    key: string,
    loader: Loader<unknown>,
    rules: LoadRules,
    signal: AbortSignal | undefined,
    part: (entry: CacheEntry) => T,
    now: number = this.#tiers.clock.now(),
  ): Promise<T> {
    const { counts } = this.#tiers;
    const held = this.#tiers.used(key, now);
    if (held !== undefined && !held.stale) {
      this.#hit(key, held);
      this.#mayRefresh(key, held, loader, rules);
      return part(held);
    }
    if (this.#closing) throw new CacheClosedError(this.#tiers.settings.name);
    if (held?.revalidate) {
      this.#refresh(key, loader, rules, 0);
      this.#tiers.servedStale(key);
      return part(held);
    }
    const running = this.#inFlight(key);
    if (running === undefined && this.#full) {
      if (!this.#mayStand(held)) throw new CacheOverloadedError(this.#tiers.settings.maxLoads);
      this.#tiers.servedStale(key);
      return part(held);
    }
    if (running !== undefined) counts.sharedWaits++;
    const flight = running ?? this.#launch(key, loader, rules, { background: false, enoughMs: 0, startedAt: now });
    const found = await this.#join(flight, rules, signal);
    if (found.stale) this.#tiers.servedStale(key);
    if (running !== undefined) return part(this.#apart(found));
    if (found.tier === 'remote' && !found.stale) this.#tiers.hit(key, 'remote');
    return part(found);
  }

  /** A fresh entry in memory, as a hit. */
  useFresh(key: string, now: number = this.#tiers.clock.now()): HeldEntry | undefined {
    const held = this.#tiers.used(key, now);
    if (held === undefined || held.stale) return undefined;
    this.#hit(key, held);
    return held;
  }

  /** Resolves when no load runs; from now on none begins. */
  idle(): Promise<void> {
    this.#closing = true;
    return new Promise((resolve) => {
      if (this.#running === 0) resolve();
      else this.#idle = resolve;
    });
  }

  /** Rejects all callers with the reason, and waits for no loader any longer. */
  abandonAll(reason: unknown): void {
    for (const flight of [...this.#flights.values(), ...this.#overtaken]) flight.abandon(reason);
  }

  #hit(key: string, held: HeldEntry): void {
    this.#tiers.hit(key, 'memory');
    this.sliding.used(key, held);
  }

  get #full(): boolean {
    return this.#running >= this.#tiers.settings.maxLoads;
  }

  get #running(): number {
    return this.#flights.size + this.#overtaken.size;
  }

  /** The load under way that a new caller may join. */
  #inFlight(key: string): Flight | undefined {
    const flight = this.#flights.get(key);
    return flight === undefined || flight.fence.broken || flight.fence.changed ? undefined : flight;
  }

  /** Refreshes a fresh entry early, if the draw says so. One that slides needs none. */
  #mayRefresh(key: string, held: HeldEntry, loader: Loader<unknown>, rules: LoadRules): void {
    if (rules.earlyRefresh === 0 || held.loadMs === 0 || held.slideMs > 0) return;
    const drawMs = earlyDrawMs(held.loadMs, rules.earlyRefresh, this.#tiers.settings.random);
    if (held.ttlMs <= drawMs) this.#refresh(key, loader, rules, drawMs);
  }

  /** Loads in the background, unless that is under way. */
  #refresh(key: string, loader: Loader<unknown>, rules: LoadRules, enoughMs: number): void {
    if (this.#closing || this.#full || this.#inFlight(key) !== undefined) return;
    this.#launch(key, loader, rules, { background: true, enoughMs, startedAt: this.#tiers.clock.now() });
  }

  #launch(key: string, loader: Loader<unknown>, rules: LoadRules, options: FlightOptions): Flight {
    const flight = new Flight(this.#tiers.fences.raise(key, rules.tags), options);
    const before = this.#flights.get(key);
    if (before !== undefined) this.#overtaken.add(before);
    this.#flights.set(key, flight);
    flight.follow(this.#fly(flight, loader, rules));
    return flight;
  }

  async #fly(flight: Flight, loader: Loader<unknown>, rules: LoadRules): Promise<CacheEntry> {
    const { key } = flight.fence;
    let after: HeldEntry | undefined;
    try {
      if (this.#tiers.remote === undefined) return await this.#runner.run(flight, loader, rules, undefined);
      const found = await this.#leased.read(flight, rules);
      const entry = this.#leased.suffices(flight, found) ? found : await this.#leased.run(flight, loader, rules);
      if (entry === flight.found && !flight.background) after = flight.found;
      return entry;
    } catch (error) {
      const stale = this.#staleFor(flight);
      if (stale !== undefined) return stale;
      throw error;
    } finally {
      this.#tiers.fences.lower(flight.fence);
      if (this.#flights.get(key) !== flight) this.#overtaken.delete(flight);
      else {
        this.#flights.delete(key);
        if (after?.stale) this.#refresh(key, loader, rules, 0);
        else if (after !== undefined) {
          this.sliding.used(key, after);
          this.#mayRefresh(key, after, loader, rules);
        }
      }
      if (this.#running === 0) this.#idle?.();
    }
  }

  /** The load's answer; once it has run for `softTimeoutMs` what is stale will do, and the load ends without its callers. */
  #join(flight: Flight, rules: LoadRules, signal: AbortSignal | undefined): Promise<CacheEntry> {
    const answer = flight.join(signal);
    const { softTimeoutMs } = rules;
    const mayBeStale = this.#tiers.remote !== undefined || this.#staleFor(flight) !== undefined;
    if (softTimeoutMs === undefined || !mayBeStale) return answer;
    const { clock } = this.#tiers;
    return new Promise((resolve, reject) => {
      const serveStale = () => {
        const stale = this.#staleFor(flight);
        if (stale === undefined) return;
        flight.pin();
        resolve(stale);
      };
      // Counted from where the load began: a slow one delays nobody twice.
      const leftMs = flight.startedAt + softTimeoutMs - clock.now();
      if (leftMs <= 0) serveStale();
      const timer = leftMs > 0 ? clock.setTimeout(serveStale, leftMs) : undefined;
      answer.then(resolve, reject).finally(() => clock.clearTimeout(timer));
    });
  }

  /** What may be served in place of a load that fails or takes long: that of memory, or what is too large for it from the remote tier. */
  #staleFor(flight: Flight): CacheEntry | undefined {
    if (flight.fence.broken) return undefined;
    const held = this.#tiers.inMemory(flight.fence.key);
    if (this.#mayStand(held)) return held;
    return this.#mayStand(flight.found) && !flight.fence.changed ? flight.found : undefined;
  }

  #mayStand(held: HeldEntry | undefined): held is HeldEntry {
    return held !== undefined && this.#tiers.clock.now() < held.errorUntil;
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
}
