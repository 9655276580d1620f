import type { FleetSettings, Invalidation, Seen } from './fleet.ts';

/** What the machine may add: two cores for all processes, timers, messages. Milliseconds. */
const SLACK_MS = 300;

/** Remembers which version of each key is in force since when, and judges what was seen. */
export class Floors {
  reads = 0;
  /** From when an invalidation was in force until an older value was last asked for, at the longest; in ms, and how much of it was allowed. */
  longestLagMs = 0;
  readonly #settings: FleetSettings;
  readonly #inForce = new Map<string, Invalidation[]>();

  constructor(settings: FleetSettings) {
    this.#settings = settings;
  }

  invalidated(invalidation: Invalidation): void {
    const { key } = invalidation;
    const all = this.#inForce.get(key) ?? [];
    all.push(invalidation);
    if (all.length > 2_000) all.splice(0, 1_000);
    this.#inForce.set(key, all);
  }

  /** What is wrong with it, if anything is. */
  judge(seen: Seen): string | undefined {
    this.reads++;
    const [key, version, calledAt, loadStartedAt, loadEndedAt, stalledMs, tier, wasSet] = seen;
    let wrong: string | undefined;
    for (const floor of this.#inForce.get(key) ?? []) {
      if (version >= floor.version || calledAt <= floor.at || (wasSet && this.#overlap(seen, floor))) continue;
      const lagMs = calledAt - floor.at;
      this.longestLagMs = Math.max(this.longestLagMs, lagMs);
      const allowedMs = (wasSet ? 0 : this.#underWayMs(seen, floor)) + this.#settings.maxLagMs + SLACK_MS + stalledMs;
      if (lagMs > allowedMs) {
        const made = wasSet ? 'set' : 'loaded';
        wrong = `${key}: version ${version} from ${tier}, ${lagMs} ms after ${floor.version} was in force (${made} ${loadStartedAt - floor.at} to ${loadEndedAt - floor.at} ms after it, stalled ${stalledMs} ms)`;
      }
    }
    return wrong;
  }

  /** A load that was under way brings what it found; a process that stood still keeps it for as much longer. */
  #underWayMs([, , , loadStartedAt, loadEndedAt]: Seen, { at }: Invalidation): number {
    return loadStartedAt > at ? 0 : Math.max(0, loadEndedAt - at + this.#settings.commandTimeoutMs);
  }

  /** Whether the value was being set when the newer one was made known, so that either may be the last. */
  #overlap([key, version, , setAt]: Seen, { calledAt }: Invalidation): boolean {
    const own = this.#inForce.get(key)?.findLast((other) => other.version === version);
    // Not told of (yet), it has not taken longer than its two commands.
    return calledAt <= (own?.returnedAt ?? setAt + 2 * this.#settings.commandTimeoutMs);
  }
}
