import type { Verdict } from './classify.ts';

/** The right to make one call. The first of its methods decides; further calls do nothing. */
export interface Permit extends Disposable {
  success(): void;
  /** @param retryAfterMs how long the dependency asked to be left alone: opens the circuit at once, for that long. */
  failure(error?: unknown, retryAfterMs?: number): void;
  /** The call said nothing about the dependency. */
  ignore(): void;
  /** Hands the permit back if nothing was reported; the same as `ignore()`, and what `using` calls. */
  release(): void;
}

/** Who gave a permit out. */
interface Issuer {
  settle(permit: BreakerPermit, verdict: Verdict, error: unknown): void;
}

export class BreakerPermit implements Permit {
  /** Of the circuit's states, the one in which it was given out. */
  readonly generation: number;
  readonly startedAt: number;
  /** When a probe loses it. `Infinity` for a permit of a closed circuit. */
  readonly leaseUntil: number;
  lost = false;
  #issuer: Issuer | undefined;

  constructor(generation: number, startedAt: number, leaseUntil: number, issuer: Issuer) {
    this.generation = generation;
    this.startedAt = startedAt;
    this.leaseUntil = leaseUntil;
    this.#issuer = issuer;
  }

  success(): void {
    this.settle('success', undefined);
  }

  failure(error?: unknown, retryAfterMs?: number): void {
    this.settle(retryAfterMs === undefined ? 'failure' : { failure: true, retryAfterMs }, error);
  }

  ignore(): void {
    this.settle('ignore', undefined);
  }

  release(): void {
    this.settle('ignore', undefined);
  }

  [Symbol.dispose](): void {
    this.release();
  }

  settle(verdict: Verdict, error: unknown): void {
    const issuer = this.#issuer;
    this.#issuer = undefined;
    issuer?.settle(this, verdict, error);
  }
}
