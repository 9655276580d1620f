import type { BreakerPermit } from './permit.ts';

/** What a trial has come to. */
export type TrialVerdict = 'undecided' | 'passed' | 'failed';

/** How many outcomes a trial needs, and how many failed or slow ones end it at once. */
export interface TrialRule {
  calls: number;
  failuresToFail: number;
  slowToFail: number;
}

/** One half-open period: the probes that are out, and the outcomes of those that came back. */
export class HalfOpenTrial {
  readonly #rule: TrialRule;
  #probes: BreakerPermit[] = [];
  #outcomes = 0;
  #failures = 0;
  #slow = 0;

  constructor(rule: TrialRule) {
    this.#rule = rule;
  }

  /** How many more probes may go out. */
  get free(): number {
    return this.#rule.calls - this.#outcomes - this.#probes.length;
  }

  /** When the first of the probes that are out loses its permit. */
  get firstLeaseUntil(): number {
    return Math.min(...this.#probes.map((probe) => probe.leaseUntil));
  }

  send(probe: BreakerPermit): void {
    this.#probes.push(probe);
  }

  /** The probe is back, whatever it says. */
  takeBack(probe: BreakerPermit): void {
    this.#probes = this.#probes.filter((other) => other !== probe);
  }

  /** Takes the permits away from probes whose lease has ended, and says how many. */
  takeBackExpired(now: number): number {
    const out = this.#probes.length;
    for (const probe of this.#probes) probe.lost = probe.leaseUntil <= now;
    this.#probes = this.#probes.filter((probe) => !probe.lost);
    return out - this.#probes.length;
  }

  record(failed: boolean, slow: boolean): TrialVerdict {
    this.#outcomes += 1;
    if (failed) this.#failures += 1;
    if (slow) this.#slow += 1;
    if (this.#failures > 0 && this.#failures >= this.#rule.failuresToFail) return 'failed';
    if (this.#slow > 0 && this.#slow >= this.#rule.slowToFail) return 'failed';
    return this.#outcomes < this.#rule.calls ? 'undecided' : 'passed';
  }
}
