import type { Recovery } from './breaker-options.ts';

/** So many at most are counted, and shared: any factor has reached any `maxMs` by then. */
const MOST_OPENINGS = 1_000_000;

/** How long an open circuit stays open, and how often it has opened without recovering. */
export class OpenPeriod {
  readonly #recovery: Recovery;
  until = 0;
  openings = 0;
  #lengthMs = 0;

  constructor(recovery: Recovery) {
    this.#recovery = recovery;
  }

  /** timeoutMs * factor^openings, at most maxMs, less a random share of up to `jitter`; or what the dependency asked for. */
  start(now: number, askedMs: number | undefined): void {
    const { timeoutMs, factor, maxMs, jitter, random, maxRetryAfterMs } = this.#recovery;
    const grown = Math.min(maxMs, timeoutMs * factor ** this.openings);
    const ownMs = jitter === 0 ? grown : grown * (1 - jitter * random());
    this.openings = Math.min(MOST_OPENINGS, this.openings + 1);
    this.#lengthMs = askedMs === undefined ? ownMs : Math.min(askedMs, maxRetryAfterMs);
    this.until = now + this.#lengthMs;
  }

  /** Goes on with a period that began elsewhere and has so long to run. */
  resume(now: number, remainingMs: number, openings: number): void {
    const { maxMs, maxRetryAfterMs } = this.#recovery;
    this.openings = Math.min(MOST_OPENINGS, openings);
    this.#lengthMs = Math.max(0, Math.min(remainingMs, Math.max(maxMs, maxRetryAfterMs)));
    this.until = now + this.#lengthMs;
  }

  /** How long a probe has. Never less than the recovery time-out: a dependency may ask for a pause that is shorter than a call to it takes. */
  get leaseMs(): number {
    return this.#recovery.leaseMs ?? Math.max(this.#lengthMs, this.#recovery.timeoutMs);
  }
}
