import type { HeldEntry } from './entry.ts';
import type { Fence } from './fences.ts';
import type { StoreRules } from './load-rules.ts';
import type { LeaseAnswer } from './remote-tier.ts';
import { SLIDE_STEP, type Tiers } from './tiers.ts';

/**
 * Makes sliding entries live on in the remote tier as they are used in memory. Memory lets one live on only when the remote tier still
 * had it: otherwise an entry that another process deleted would live as long as anybody here reads it. The remote tier is asked at
 * most every tenth of the time to live, for one key once at a time.
 */
export class Sliding {
  readonly #tiers: Tiers;
  readonly #renewing = new Set<string>();

  constructor(tiers: Tiers) {
    this.#tiers = tiers;
  }

  /** A fresh entry was used. */
  used(key: string, held: HeldEntry): void {
    if (!held.slideDue || this.#renewing.has(key)) return;
    this.#renewing.add(key);
    void this.#renew(key, held).finally(() => this.#renewing.delete(key));
  }

  async #renew(key: string, held: HeldEntry): Promise<void> {
    const { clock, fences, memory } = this.#tiers;
    const fence = fences.raise(key, held.tags);
    const rules: StoreRules = { ...held, ttlMs: held.slideMs, sliding: true, earlyRefresh: 0 };
    try {
      const found = await this.#tiers.remotely((remote) => remote.get(key), undefined);
      const wallNow = this.#tiers.wallNow();
      const left = (found?.freshUntil ?? 0) - wallNow;
      if (found === undefined) {
        // Gone, or not to be asked: it ends here when it would have.
      } else if (left <= 0 || left > held.slideMs * (1 - SLIDE_STEP)) {
        // Another process made it stale, renewed it, or wrote it anew.
        this.#tiers.admit(key, found, fence, rules);
        return;
      } else {
        const lease = await this.#tiers.remotely<LeaseAnswer>(
          (remote) => remote.lease(key, found.version, found.tags),
          {
            state: 'unavailable',
          },
        );
        if (lease.state === 'granted') {
          if ((await this.#renewUnder(lease.token, key, rules, fence)) !== 'unavailable') return;
        }
      }
      if (!fence.broken) memory.postpone(key, clock.now() + held.slideMs * SLIDE_STEP);
    } finally {
      fences.lower(fence);
    }
  }

  async #renewUnder(
    token: string,
    key: string,
    rules: StoreRules,
    fence: Fence,
  ): Promise<'stored' | 'lost' | 'unavailable'> {
    // Read again: only what stands under the lease is sure not to have been deleted before it.
    const found = await this.#tiers.remotely((remote) => remote.get(key), undefined);
    const wallNow = this.#tiers.wallNow();
    if (found === undefined || found.freshUntil <= wallNow) {
      await this.#tiers.remotely((remote) => remote.release(key, token), undefined);
      if (found === undefined) {
        // Deleted just before the lease, of which the news was taken for news of the lease.
        if (!fence.broken) this.#tiers.memory.expire(key, this.#tiers.clock.now());
        return 'unavailable';
      }
      this.#tiers.admit(key, found, fence, rules);
      return 'lost';
    }
    const renewed = { ...found, freshUntil: wallNow + rules.ttlMs };
    const keepMs = rules.ttlMs + Math.max(rules.staleWhileRevalidateMs, rules.staleIfErrorMs);
    const answer = await this.#tiers.remotely(
      (remote) => remote.store(key, token, { ...renewed, keepMs }),
      'unavailable',
    );
    if (answer === 'stored') this.#tiers.admit(key, renewed, fence, rules);
    // Another process invalidated it meanwhile.
    else if (answer === 'lost') this.#tiers.memory.remove(key);
    return answer;
  }
}
