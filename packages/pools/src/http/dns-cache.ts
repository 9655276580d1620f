import type { LookupAddress, LookupAllOptions } from 'node:dns';
import type { Clock } from '../clock.ts';
import type { LookupAll } from './egress.ts';

interface Known {
  readonly addresses: LookupAddress[];
  freshUntil: number;
  /** How often it was asked for: each asker starts at the next address. */
  turn: number;
}

type Callback = Parameters<LookupAll>[2];

/**
 * What names resolve to, remembered for a while: one question for many connections, where Node asks for each, on one of
 * its four threads. When the resolver fails, other than by saying that there is no such name, what it said before is
 * used once more (RFC 8767, Serving Stale Data to Improve DNS Resiliency).
 */
export class DnsCache {
  readonly #ask: LookupAll;
  readonly #ttlMs: number;
  readonly #clock: Clock;
  /** The longest not asked for first. */
  readonly #known = new Map<string, Known>();
  readonly #pending = new Map<string, Callback[]>();

  constructor(ask: LookupAll, ttlMs: number, clock: Clock) {
    this.#ask = ask;
    this.#ttlMs = ttlMs;
    this.#clock = clock;
  }

  readonly lookup: LookupAll = (hostname, options, callback) => {
    if (this.#ttlMs === 0) return this.#ask(hostname, options, callback);
    const key = keyOf(hostname, options);
    const known = this.#known.get(key);
    if (known !== undefined && this.#clock.now() < known.freshUntil) return callback(null, this.#inTurn(key, known));
    const pending = this.#pending.get(key);
    if (pending !== undefined) {
      pending.push(callback);
      return;
    }
    const callbacks = [callback];
    this.#pending.set(key, callbacks);
    this.#ask(hostname, options, (error, addresses) => {
      this.#pending.delete(key);
      if (!error && addresses.length > 0) this.#keep(key, addresses);
      else if (error?.code === 'ENOTFOUND') this.#known.delete(key);
      for (const told of callbacks) {
        const now = this.#known.get(key);
        if (now === undefined) told(error, addresses);
        else told(null, this.#inTurn(key, now));
      }
    });
  };

  /** A connection to this name could not be made: the next one asks again. */
  expire(hostname: string): void {
    for (const [key, known] of this.#known) if (key.startsWith(`${hostname} `)) known.freshUntil = 0;
  }

  #keep(key: string, addresses: LookupAddress[]): void {
    const turn = this.#known.get(key)?.turn ?? 0;
    this.#known.set(key, { addresses, freshUntil: this.#clock.now() + this.#ttlMs, turn });
    if (this.#known.size <= maxNames) return;
    for (const longestUnused of this.#known.keys()) {
      this.#known.delete(longestUnused);
      break;
    }
  }

  /** The addresses from the next one on, but none before one of the family that the resolver prefers (RFC 6724). */
  #inTurn(key: string, known: Known): LookupAddress[] {
    this.#known.delete(key);
    this.#known.set(key, known);
    const { addresses } = known;
    const turn = known.turn++;
    if (addresses.length === 1) return addresses;
    const families = [...new Set(addresses.map(({ family }) => family))];
    return families.flatMap((family) => {
      const own = addresses.filter((address) => address.family === family);
      const start = turn % own.length;
      return [...own.slice(start), ...own.slice(0, start)];
    });
  }
}

/** Hosts may be named by strangers: no more of them are remembered. */
const maxNames = 1_000;

function keyOf(hostname: string, { family, hints }: LookupAllOptions): string {
  return `${hostname} ${family ?? 0} ${hints ?? 0}`;
}
