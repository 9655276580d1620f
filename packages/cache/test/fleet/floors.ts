import type { FleetSettings, Seen } from './fleet.ts';

/** What the machine may add: two cores for all processes, timers, messages. Milliseconds. */
const SLACK_MS = 300;

/** Remembers which version of each key is in force since when, and judges what was seen. */
export class Floors {
  reads = 0;
  /** From when an invalidation was in force until an older value was last asked for, at the longest; in ms, and how much of it was allowed. */
  longestLagMs = 0;
  readonly #allowedMs: (loadedAfterMs: number) => number;
  readonly #inForce = new Map<string, { version: number; at: number }[]>();

  constructor({ maxLagMs, commandTimeoutMs }: FleetSettings) {
    this.#allowedMs = (loadedAfterMs) => Math.max(0, loadedAfterMs + commandTimeoutMs) + maxLagMs + SLACK_MS;
  }

  invalidated(key: string, version: number, at: number): void {
    const all = this.#inForce.get(key) ?? [];
    all.push({ version, at });
    if (all.length > 2_000) all.splice(0, 1_000);
    this.#inForce.set(key, all);
  }

  /** What is wrong with it, if anything is. */
  judge([key, version, calledAt, loadStartedAt, loadEndedAt, stalledMs, tier]: Seen): string | undefined {
    this.reads++;
    let wrong: string | undefined;
    const all = this.#inForce.get(key) ?? [];
    // What was set, not loaded, is under way until Redis has taken it, or has been rid of it: a command that was not answered in time may
    // still arrive, and is then made up for.
    const wasSet = loadStartedAt === loadEndedAt;
    const doneAt = wasSet ? (all.find((own) => own.version === version)?.at ?? calledAt) : loadEndedAt;
    for (const floor of all) {
      if (version >= floor.version || calledAt <= floor.at) continue;
      const lagMs = calledAt - floor.at;
      this.longestLagMs = Math.max(this.longestLagMs, lagMs);
      // A load that was under way brings what it found; a process that stood still keeps it for as much longer.
      const underWayMs = loadStartedAt <= floor.at ? doneAt - floor.at : Number.NEGATIVE_INFINITY;
      if (lagMs > this.#allowedMs(underWayMs) + stalledMs) {
        wrong = `${key}: version ${version} from ${tier}, ${lagMs} ms after ${floor.version} was in force (loaded ${loadStartedAt - floor.at} to ${loadEndedAt - floor.at} ms after it, stalled ${stalledMs} ms)`;
      }
    }
    return wrong;
  }
}
