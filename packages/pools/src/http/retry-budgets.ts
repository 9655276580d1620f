/**
 * A bucket of retries for each origin: requests fill it, retries empty it, so that a server that fails gets little more
 * load than its callers make anyway, and one that is well can be retried while another is down (gRPC proposal A6, "Throttling
 * Retry Attempts and Hedged RPCs").
 */
export class RetryBudgets {
  readonly #ratio: number;
  /** What is left to origins that have spent something, the longest without change first; all others have all of it. */
  readonly #left = new Map<string, number>();

  constructor(ratio: number) {
    this.#ratio = ratio;
  }

  earn(origin: string): void {
    const left = this.#left.get(origin);
    if (left === undefined) return;
    this.#left.delete(origin);
    if (left + this.#ratio < reserve) this.#left.set(origin, left + this.#ratio);
  }

  /** Takes one, if there is one. */
  spend(origin: string): boolean {
    const left = this.#left.get(origin) ?? reserve;
    if (left < 1) return false;
    this.#left.delete(origin);
    this.#left.set(origin, left - 1);
    if (this.#left.size > maxOrigins) {
      for (const longestUnchanged of this.#left.keys()) {
        this.#left.delete(longestUnchanged);
        break;
      }
    }
    return true;
  }
}

const reserve = 10;

/** Hosts may be named by strangers: no more of them are remembered. */
const maxOrigins = 1_000;
