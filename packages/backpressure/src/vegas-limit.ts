import type { AdaptiveLimit } from './adaptive-limit.ts';
import { NoLoadTime } from './no-load-time.ts';
import { type AdaptiveLimitBounds, type AdaptiveLimitOptions, adaptiveLimitBounds } from './sample-window.ts';

/**
 * Keeps a short queue in the service. From TCP Vegas (Brakmo and Peterson, 1995): with the run time without load R₀ (see
 * `NoLoadTime`) and now R, about q = L · (1 − R₀/R) of L calls are queued there. With s = log₁₀ L, the limit
 * grows by 6s while q ≤ s, by s while q < 3s, shrinks by s when q > 6s or a call failed for overload; the steps are those
 * of Netflix concurrency-limits. R₀ is the least of the windows' means plus two standard errors: the shortest mean of many windows is
 * one of luck, which would look like a queue ever after.
 */
export class VegasLimit implements AdaptiveLimit {
  readonly #bounds: AdaptiveLimitBounds;
  readonly #noLoad: NoLoadTime;
  #limit: number;

  constructor(options: AdaptiveLimitOptions = {}) {
    this.#bounds = adaptiveLimitBounds(options);
    this.#noLoad = new NoLoadTime(this.#bounds.minLimit, options.windowMs, 1 / 2);
    this.#limit = this.#bounds.initialLimit;
  }

  get limit(): number {
    return this.#noLoad.limitInProbe ?? Math.floor(this.#limit);
  }

  record(now: number, runMs: number, inFlight: number, failed: boolean): void {
    if (this.#noLoad.add(now, runMs, inFlight, failed)) this.#update();
  }

  stalled(): void {
    this.#noLoad.giveUp();
  }

  #update(): void {
    const { meanMs, errorMs, maxInFlight, failed } = this.#noLoad.window;
    const { minLimit, maxLimit } = this.#bounds;
    const before = this.#limit;
    const surelyNoMoreMs = meanMs === undefined ? undefined : meanMs + 2 * errorMs;
    if (!this.#noLoad.seen(surelyNoMoreMs) || failed) {
      this.#limit = Math.min(maxLimit, Math.max(minLimit, this.#next(meanMs, maxInFlight, failed)));
    }
    this.#noLoad.moved(this.#limit, before);
  }

  #next(meanMs: number | undefined, maxInFlight: number, failed: boolean): number {
    const limit = this.#limit;
    const step = Math.max(1, Math.log10(limit));
    if (failed) return limit - step;
    // A limit that was not reached proves nothing.
    if (maxInFlight * 2 < limit || meanMs === undefined) return limit;
    const queued = meanMs > 0 ? Math.ceil(limit * (1 - this.#noLoad.ms / meanMs)) : 0;
    if (queued <= step) return limit + 6 * step;
    if (queued < 3 * step) return limit + step;
    return queued > 6 * step ? limit - step : limit;
  }
}
