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

type Settle = (permit: BreakerPermit, verdict: Verdict, error: unknown) => void;

export class BreakerPermit implements Permit {
  /** Of the breaker's states, the one in which it was given out. */
  readonly generation: number;
  readonly startedAt: number;
  /** When a probe loses it. `Infinity` for a permit of a closed circuit. */
  readonly leaseUntil: number;
  lost = false;
  #settle: Settle | undefined;

  constructor(generation: number, startedAt: number, leaseUntil: number, settle: Settle) {
    this.generation = generation;
    this.startedAt = startedAt;
    this.leaseUntil = leaseUntil;
    this.#settle = settle;
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
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(this, verdict, error);
  }
}
