import type { ToolName } from './calls.ts';
import type { Outcome } from './outcome.ts';

/** What was going on when: a fault with the calm after it, or the calm before the first. */
export interface Phase {
  name: string;
  /** Tools that may answer with a failure. The others must go on as if nothing had happened. */
  affects: readonly ToolName[];
}

/** An invariant that did not hold. */
export interface Violation {
  what: string;
  /** Seconds since the start, the first time. */
  atSeconds: number;
  phase: string;
  times: number;
}

interface ToolCounts {
  success: number;
  failed: number;
  shed: number;
  broken: number;
  /** Of successes. Milliseconds. */
  durations: number[];
}

const MAX_VIOLATIONS = 50;

/** Everything that was seen, and what should not have been. */
export class Recorder {
  readonly #start: number = performance.now();
  readonly #violations = new Map<string, Violation>();
  readonly tools = new Map<ToolName, ToolCounts>();
  /** Answers by phase: how calls fared while a fault of that name was on, and until all was well again. */
  readonly phases = new Map<string, Record<Outcome['kind'], number>>();
  phase: Phase = { name: 'calm', affects: [] };

  get seconds(): number {
    return (performance.now() - this.#start) / 1_000;
  }

  get violations(): Violation[] {
    return [...this.#violations.values()];
  }

  violation(kind: string, detail = ''): void {
    const seen = this.#violations.get(kind);
    if (seen !== undefined) seen.times++;
    else if (this.#violations.size < MAX_VIOLATIONS) {
      const what = detail === '' ? kind : `${kind}: ${detail}`;
      this.#violations.set(kind, { what, atSeconds: this.seconds, phase: this.phase.name, times: 1 });
    }
  }

  /** Counts a call that began in phase `begun` and has ended now. */
  count(tool: ToolName, outcome: Outcome, ms: number, begun: Phase): void {
    const counts = this.tools.get(tool) ?? { success: 0, failed: 0, shed: 0, broken: 0, durations: [] };
    this.tools.set(tool, counts);
    counts[outcome.kind]++;
    if (outcome.kind === 'success') counts.durations.push(ms);
    const phase = this.phases.get(begun.name) ?? { success: 0, failed: 0, shed: 0, broken: 0 };
    this.phases.set(begun.name, phase);
    phase[outcome.kind]++;

    if (outcome.kind === 'broken') {
      // The body may differ each time; what is before it names the kind.
      const kind = outcome.why.replace(/[{<].*/s, '');
      this.violation(`${tool}: ${kind}`, outcome.why.slice(kind.length));
    }
    if (outcome.kind === 'failed' && ![begun, this.phase].some(({ affects }) => affects.includes(tool))) {
      this.violation(
        `${tool} failed (${outcome.code}) though "${begun.name}" is no concern of its dependency`,
        outcome.text,
      );
    }
  }
}
