import type { CircuitBreaker } from './circuit-breaker.ts';
import { type Clock, systemClock } from './clock.ts';
import { checkDuration, checkFunction, checkInteger, checkMethods } from './option-checks.ts';

export interface BreakerRegistryOptions {
  /** Makes the breaker of a key (a host, a tenant). */
  create: (key: string) => CircuitBreaker;
  /** How many breakers are kept. Default 1,000. */
  max?: number | undefined;
  /** A breaker that nobody asked for so long is forgotten. Milliseconds, default one hour. */
  idleMs?: number | undefined;
  /** Default: the process's monotonic clock. */
  clock?: Clock | undefined;
}

interface Entry {
  breaker: CircuitBreaker;
  usedAt: number;
}

/** A look at so many of the longest unused breakers per `get` keeps up with any arrival of new keys. */
const LOOKED_AT = 4;
/** So many are looked at for one that may be forgotten: enough to find it, and no more work where thousands are open. */
const LOOKED_AT_TO_FORGET = 64;

/**
 * A breaker for each key, a bounded number of them. The longest unused is forgotten first, but never one that is open,
 * half-open or forced: where only such are kept, the breaker of a further key is made for that call and not kept.
 */
export class BreakerRegistry {
  readonly #create: (key: string) => CircuitBreaker;
  readonly #max: number;
  readonly #idleMs: number;
  readonly #clock: Clock;
  /** In order of use, the longest unused first. */
  readonly #entries = new Map<string, Entry>();

  constructor(options: BreakerRegistryOptions) {
    const { create, max = 1_000, idleMs = 3_600_000, clock = systemClock } = options;
    checkFunction('create', create);
    checkInteger('max', max, 1);
    checkDuration('idleMs', idleMs);
    checkMethods('clock', clock, ['now']);
    this.#create = create;
    this.#max = max;
    this.#idleMs = idleMs;
    this.#clock = clock;
  }

  /** How many breakers are kept. */
  get size(): number {
    return this.#entries.size;
  }

  get(key: string): CircuitBreaker {
    const now = this.#clock.now();
    const found = this.#entries.get(key);
    const breaker = found?.breaker ?? this.#create(key);
    if (found !== undefined) this.#entries.delete(key);
    this.#forgetIdle(now);
    if (this.#entries.size < this.#max || this.#forgetOne(now)) this.#entries.set(key, { breaker, usedAt: now });
    return breaker;
  }

  /** Forgets the breaker of `key`, whatever its state. */
  delete(key: string): boolean {
    return this.#entries.delete(key);
  }

  /** The keys and breakers that are kept. */
  *[Symbol.iterator](): IterableIterator<[string, CircuitBreaker]> {
    for (const [key, entry] of this.#entries) yield [key, entry.breaker];
  }

  #forgetIdle(now: number): void {
    let looked = 0;
    for (const [key, entry] of this.#entries) {
      if (now - entry.usedAt < this.#idleMs || looked === LOOKED_AT) return;
      looked += 1;
      this.#entries.delete(key);
      // Out of the way of those behind it, which may be forgotten; its time of use stays.
      if (!this.#mayForget(entry, now)) this.#entries.set(key, entry);
    }
  }

  #forgetOne(now: number): boolean {
    let looked = 0;
    for (const [key, entry] of this.#entries) {
      if (this.#mayForget(entry, now)) return this.#entries.delete(key);
      looked += 1;
      // Out of the way of those behind it: the next call looks at others.
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      if (looked === LOOKED_AT_TO_FORGET) return false;
    }
    return false;
  }

  // A circuit whose time to be probed has come long ago, and which nobody has asked for since, protects nobody.
  #mayForget({ breaker, usedAt }: Entry, now: number): boolean {
    return breaker.state === 'closed' || (breaker.state === 'half-open' && now - usedAt >= this.#idleMs);
  }
}
