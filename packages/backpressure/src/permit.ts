import type { AbandonedWork } from './abandoned-work.ts';

/** How a piece of work ended, as far as it tells something of the capacity of what did it. */
export type Outcome = 'success' | 'failure' | 'ignore';

/** The right to do one piece of work. It is given back once, by whichever method is called first; later calls do nothing. */
export interface Permit extends Disposable {
  /** Gives the permit back. The same as `success()`. */
  release(): void;
  /** The work was done. */
  success(): void;
  /** The work failed in a way that speaks of overload; an adaptive limit gets smaller. */
  failure(error?: unknown): void;
  /** The work says nothing about capacity (it was aborted, its argument was wrong); an adaptive limit does not look at it. */
  ignore(): void;
  /** Whoever asked for the work has gone, while it goes on and holds the permit: `stats()` counts it as abandoned. */
  abandon(): void;
}

/** Called once for each permit, when it is given back. */
export type GiveBack = (startedAt: number, inFlight: number, outcome: Outcome) => void;

export class OneShotPermit implements Permit {
  #giveBack: GiveBack | undefined;
  readonly #abandonedWork: AbandonedWork;
  #isAbandoned = false;
  readonly #startedAt: number;
  readonly #inFlight: number;

  constructor(giveBack: GiveBack, abandonedWork: AbandonedWork, startedAt: number, inFlight: number) {
    this.#giveBack = giveBack;
    this.#abandonedWork = abandonedWork;
    this.#startedAt = startedAt;
    this.#inFlight = inFlight;
  }

  release(): void {
    this.#end('success');
  }

  success(): void {
    this.#end('success');
  }

  failure(_error?: unknown): void {
    this.#end('failure');
  }

  ignore(): void {
    this.#end('ignore');
  }

  abandon(): void {
    if (this.#giveBack === undefined || this.#isAbandoned) return;
    this.#isAbandoned = true;
    this.#abandonedWork.left();
  }

  [Symbol.dispose](): void {
    this.#end('success');
  }

  #end(outcome: Outcome): void {
    const giveBack = this.#giveBack;
    if (giveBack === undefined) return;
    this.#giveBack = undefined;
    if (this.#isAbandoned) this.#abandonedWork.ended();
    giveBack(this.#startedAt, this.#inFlight, outcome);
  }
}
