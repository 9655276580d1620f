import { ownString } from './own-string.ts';

/**
 * The memory of a rate limiter: for each key the time at which it will have recovered (GCRA's theoretical arrival time), for
 * at most `maxKeys` keys. Beyond that one that has recovered, or is nearest to it, is forgotten.
 */
export class ArrivalTimes {
  readonly #maxKeys: number;
  /** Those looked at for eviction last are at the end. */
  readonly #arrivals = new Map<string, number>();

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#arrivals.size;
  }

  /** From `now` to `now + mostMs`; what is later is brought back to that for good: a clock that was set back must not lock anybody out. */
  get(key: string, now: number, mostMs: number): number {
    const known = this.#arrivals.get(key);
    if (known === undefined || known < now) return now;
    if (known <= now + mostMs) return known;
    this.#arrivals.set(key, now + mostMs);
    return now + mostMs;
  }

  set(key: string, arrival: number, now: number): void {
    if (this.#arrivals.size >= this.#maxKeys && !this.#arrivals.has(key)) this.#forgetOne(now);
    const known = this.#arrivals.size;
    this.#arrivals.set(key, arrival);
    if (this.#arrivals.size === known) return;
    // A new one. Found out so, one that is known costs no more than it has to.
    this.#arrivals.delete(key);
    this.#arrivals.set(ownString(key), arrival);
  }

  /** Of a few keys, forgets the one nearest to a full burst; the others go to the end, so that each is looked at in turn. */
  #forgetOne(now: number): void {
    let victim: string | undefined;
    let earliest = Number.POSITIVE_INFINITY;
    let looked = 0;
    for (const [key, arrival] of this.#arrivals) {
      if (arrival < earliest) {
        if (victim !== undefined) this.#moveToEnd(victim, earliest);
        victim = key;
        earliest = arrival;
      } else {
        this.#moveToEnd(key, arrival);
      }
      if (earliest <= now || ++looked === evictionSample) break;
    }
    if (victim !== undefined) this.#arrivals.delete(victim);
  }

  #moveToEnd(key: string, arrival: number): void {
    this.#arrivals.delete(key);
    this.#arrivals.set(key, arrival);
  }
}

const evictionSample = 8;
