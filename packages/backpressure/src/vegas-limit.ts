import type { AdaptiveLimit } from './adaptive-limit.ts';
import {
  type AdaptiveLimitBounds,
  type AdaptiveLimitOptions,
  adaptiveLimitBounds,
  SampleWindow,
} from './sample-window.ts';

/**
 * Keeps a short queue in the service. From TCP Vegas (Brakmo and Peterson, 1995): with the run time without load R₀ (the
 * shortest window mean seen) and now R, about q = L · (1 − R₀/R) of L calls are queued there. With s = log₁₀ L, the limit
 * grows by 6s while q ≤ s, by s while q < 3s, shrinks by s when q > 6s or a call failed for overload; the steps are those
 * of Netflix concurrency-limits. A service that has become slower looks like one with a queue: so R₀ is measured afresh now
 * and then, and when the limit keeps shrinking, at a quarter of the limit for two windows (as BBR's ProbeRTT does; Cardwell
 * and others, ACM Queue 14(5), 2016).
 */
export class VegasLimit implements AdaptiveLimit {
  readonly #bounds: AdaptiveLimitBounds;
  readonly #window: SampleWindow;
  #limit: number;
  #noLoadMs = Number.POSITIVE_INFINITY;
  #windowsSinceProbe = 0;
  #shrinksInRow = 0;
  /** Windows of the probe that are still to come, and the limit to go back to. */
  #probing = 0;
  #limitAfterProbe = 0;

  constructor(options: AdaptiveLimitOptions = {}) {
    this.#bounds = adaptiveLimitBounds(options);
    this.#window = new SampleWindow(options.windowMs);
    this.#limit = this.#bounds.initialLimit;
  }

  get limit(): number {
    return Math.floor(this.#limit);
  }

  record(now: number, runMs: number, inFlight: number, failed: boolean): void {
    if (this.#window.add(now, runMs, inFlight, failed)) this.#update();
  }

  #update(): void {
    const { meanMs, maxInFlight, failed } = this.#window;
    if (this.#probing > 0) {
      // What ended in the first of the windows was still started under the old limit.
      if (--this.#probing > 0) return;
      this.#noLoadMs = meanMs;
      this.#limit = this.#limitAfterProbe;
      return;
    }
    this.#windowsSinceProbe++;
    if (meanMs < this.#noLoadMs) {
      this.#noLoadMs = meanMs;
      return;
    }
    const { minLimit, maxLimit } = this.#bounds;
    const before = this.#limit;
    this.#limit = Math.min(maxLimit, Math.max(minLimit, this.#next(meanMs, maxInFlight, failed)));
    this.#shrinksInRow = this.#limit < before ? this.#shrinksInRow + 1 : 0;
    if (this.#windowsSinceProbe >= (this.#shrinksInRow >= suspiciousShrinks ? minProbeGap : maxProbeGap)) this.#probe();
  }

  #probe(): void {
    this.#windowsSinceProbe = 0;
    this.#shrinksInRow = 0;
    this.#probing = 2;
    this.#limitAfterProbe = this.#limit;
    this.#limit = Math.max(this.#bounds.minLimit, this.#limit / 4);
  }

  #next(meanMs: number, maxInFlight: number, failed: boolean): number {
    const limit = this.#limit;
    const step = Math.max(1, Math.log10(limit));
    if (failed) return limit - step;
    // A limit that was not reached proves nothing.
    if (maxInFlight * 2 < limit) return limit;
    const queued = meanMs > 0 ? Math.ceil(limit * (1 - this.#noLoadMs / meanMs)) : 0;
    if (queued <= step) return limit + 6 * step;
    if (queued < 3 * step) return limit + step;
    return queued > 6 * step ? limit - step : limit;
  }
}

const suspiciousShrinks = 5;
/** In windows. */
const minProbeGap = 10;
const maxProbeGap = 200;
