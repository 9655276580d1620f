import type { BreakerPermit } from './permit.ts';
import { reaches } from './rate-rule.ts';

/** What the probes have come to. */
export type ProbeVerdict = 'undecided' | 'passed' | 'failed';

/** How many outcomes decide, and which share of them, failed or slow, does so at once. */
export interface ProbeRule {
  calls: number;
  failureRate: number;
  slowRate: number;
}

/** One half-open period: the probes that are out, and the outcomes of those that came back. */
export class HalfOpenProbes {
  readonly #rule: ProbeRule;
  #out: BreakerPermit[] = [];
  #outcomes = 0;
  #failures = 0;
  #slow = 0;

  constructor(rule: ProbeRule) {
    this.#rule = rule;
  }

  /** How many more probes may go out. */
  get free(): number {
    return this.#rule.calls - this.#outcomes - this.#out.length;
  }

  /** When the first of the probes that are out loses its permit. */
  get firstLeaseUntil(): number {
    return Math.min(...this.#out.map((probe) => probe.leaseUntil));
  }

  send(probe: BreakerPermit): void {
    this.#out.push(probe);
  }

  /** The probe is back, whatever it says. */
  takeBack(probe: BreakerPermit): void {
    this.#out = this.#out.filter((other) => other !== probe);
  }

  /** Takes the permits away from probes whose lease has ended, and says how many. */
  takeBackExpired(now: number): number {
    const before = this.#out.length;
    for (const probe of this.#out) probe.lost = probe.leaseUntil <= now;
    this.#out = this.#out.filter((probe) => !probe.lost);
    return before - this.#out.length;
  }

  record(failed: boolean, slow: boolean): ProbeVerdict {
    this.#outcomes += 1;
    if (failed) this.#failures += 1;
    if (slow) this.#slow += 1;
    const { calls, failureRate, slowRate } = this.#rule;
    if (reaches(this.#failures, calls, failureRate) || reaches(this.#slow, calls, slowRate)) return 'failed';
    return this.#outcomes < calls ? 'undecided' : 'passed';
  }
}
