/** How fast work ends, over the last one to two seconds: what an honest "try again in …" is computed from. */
export class DrainRate {
  #windowStart: number;
  #count = 0;
  #previousCount = 0;
  #previousMs = 0;

  constructor(now: number) {
    this.#windowStart = now;
  }

  record(now: number): void {
    if (now - this.#windowStart >= windowMs) this.#rotate(now);
    this.#count++;
  }

  /** How long until `ahead` pieces of work have ended, in milliseconds; undefined while nothing is known. */
  timeFor(ahead: number, now: number): number | undefined {
    const ms = this.#previousMs + (now - this.#windowStart);
    const count = this.#previousCount + this.#count;
    if (count === 0 || ms <= 0) return undefined;
    return (ahead * ms) / count;
  }

  #rotate(now: number): void {
    this.#previousCount = this.#count;
    this.#previousMs = now - this.#windowStart;
    this.#count = 0;
    this.#windowStart = now;
  }
}

const windowMs = 1_000;
