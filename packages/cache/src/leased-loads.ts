import type { Clock } from './clock.ts';
import type { CacheEntry, HeldEntry } from './entry.ts';
import type { Flight } from './flight.ts';
import type { LoadRules } from './load-rules.ts';
import type { Loader, LoadRunner } from './load-runner.ts';
import type { LeaseAnswer } from './remote-tier.ts';
import type { Tiers } from './tiers.ts';

const FIRST_POLL_MS = 10;
const LONGEST_POLL_MS = 100;
/** For so many leases a holder that neither delivers nor dies is waited for. */
const MOST_LEASES = 10;

/** One load among processes: what the remote tier has, another process's load, or one under a lease. */
export class LeasedLoads {
  readonly #tiers: Tiers;
  readonly #runner: LoadRunner;

  constructor(tiers: Tiers, runner: LoadRunner) {
    this.#tiers = tiers;
    this.#runner = runner;
  }

  /** What the remote tier has now. */
  read({ fence }: Flight, rules: LoadRules): Promise<HeldEntry | undefined> {
    fence.changed = false;
    return this.#tiers.fromRemote(fence.key, fence, rules);
  }

  /** Takes note of what was read. Whether it needs no load. */
  suffices(flight: Flight, found: HeldEntry | undefined): found is HeldEntry {
    flight.found = found;
    return found !== undefined && (found.ttlMs > flight.enoughMs || (found.revalidate && !flight.background));
  }

  /** To be called when what was read does not suffice. */
  async run(flight: Flight, loader: Loader<unknown>, rules: LoadRules): Promise<CacheEntry> {
    const { key } = flight.fence;
    const { clock, remote } = this.#tiers;
    const patience = new Patience(clock, flight.startedAt, remote?.leaseMs ?? 0);
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 1.5, LONGEST_POLL_MS)) {
      const { found } = flight;
      const lease = await this.#tiers.remotely<LeaseAnswer>((tier) => tier.lease(key, found?.version, rules.tags), {
        state: 'unavailable',
      });
      if (lease.state === 'granted') return await this.#underLease(flight, loader, rules, lease.token);
      if (lease.state === 'held') patience.saw(lease.leftMs);
      const waitMs = rules.waitForOthers ? Math.min(pollMs, patience.leftMs) : 0;
      const waits = waitMs > 0;
      // What has changed is read again, however long the wait was.
      if (lease.state === 'unavailable' || (lease.state === 'held' && !waits)) break;
      // What changed once can be read again at once; what keeps changing is waited for like a lease.
      if (waits && (lease.state === 'held' || pollMs > FIRST_POLL_MS)) await this.#pause(waitMs, flight);
      const again = await this.read(flight, rules);
      if (this.suffices(flight, again)) return again;
      if (!waits) break;
    }
    return this.#runner.run(flight, loader, rules, undefined);
  }

  async #underLease(flight: Flight, loader: Loader<unknown>, rules: LoadRules, token: string): Promise<CacheEntry> {
    const { clock, remote } = this.#tiers;
    const { key } = flight.fence;
    let timer: unknown;
    const renewLater = () => {
      timer = clock.setTimeout(
        () => {
          void this.#tiers.remotely((tier) => tier.renew(key, token), undefined);
          renewLater();
        },
        (remote?.leaseMs ?? 0) / 3,
      );
      (timer as { unref?: () => void }).unref?.();
    };
    renewLater();
    try {
      return await this.#runner.run(flight, loader, rules, token);
    } catch (error) {
      await this.#tiers.remotely((tier) => tier.release(key, token), undefined);
      // Had somebody deleted the key just before the lease, the news of that would have been taken for news of the lease.
      if (!flight.fence.broken) this.#tiers.memory.expire(key, clock.now());
      throw error;
    } finally {
      clock.clearTimeout(timer);
    }
  }

  /** Waits for a while, or until the key has been changed. */
  async #pause(ms: number, { fence, signal }: Flight): Promise<void> {
    const { clock, coherence } = this.#tiers;
    let tidy = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const stop = () => reject(signal.reason);
        const timer = clock.setTimeout(resolve, ms);
        const forget = coherence.onceChanged(fence.key, resolve);
        signal.addEventListener('abort', stop, { once: true });
        tidy = () => {
          clock.clearTimeout(timer);
          forget();
          signal.removeEventListener('abort', stop);
        };
      });
    } finally {
      tidy();
    }
  }
}

/** How long to wait for a holder: as long as its lease has left, and on while it is renewed, but not for ever, since a load may hang. */
class Patience {
  readonly #clock: Clock;
  readonly #longestUntil: number;
  #until: number;
  #lastLeftMs = 0;

  constructor(clock: Clock, startedAt: number, leaseMs: number) {
    this.#clock = clock;
    this.#until = startedAt + leaseMs;
    this.#longestUntil = startedAt + MOST_LEASES * leaseMs;
  }

  get leftMs(): number {
    return this.#until - this.#clock.now();
  }

  saw(leftMs = 0): void {
    // One that grows is new or was renewed. Who gave up a moment before one is over would load beside the one who takes it over then.
    if (leftMs > this.#lastLeftMs || leftMs <= LONGEST_POLL_MS) {
      this.#until = Math.max(this.#until, Math.min(this.#longestUntil, this.#clock.now() + leftMs));
    }
    this.#lastLeftMs = leftMs;
  }
}
