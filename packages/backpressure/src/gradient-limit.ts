import type { AdaptiveLimit } from './adaptive-limit.ts';
import { NoLoadTime } from './no-load-time.ts';
import { checkAtLeast } from './option-checks.ts';
import { type AdaptiveLimitBounds, type AdaptiveLimitOptions, adaptiveLimitBounds } from './sample-window.ts';

export interface GradientLimitOptions extends AdaptiveLimitOptions {
  /** How many times as long as without load calls may take before the limit shrinks. From 1, default 1.5. */
  tolerance?: number | undefined;
}

/**
 * Compares how long calls take with how long they take without load. With the window's mean R and the time without load R₀ (see
 * `NoLoadTime`), g = max(½, min(1, tolerance · R₀ / R)) and N = g L + q, where q = min(4, √L) is the queue that is allowed, L ← N where that is more and
 * L ← 0.8 L + 0.2 N where it is less; a window with a call that failed for overload is L ← 0.9 L, which is g = ½ and no queue. Gradient, smoothing and the 4 are those of
 * Netflix concurrency-limits. From Envoy's gradient controller are the root (it takes that of g L), and that R₀ is measured by lowering the limit now and then.
 *
 * A service of W workers is kept at about L = tolerance · W + q, of which the last third and q wait inside it: of two workers at 5 or 6, where calls
 * take up to three times as long as without load. Gradient2, the later of Netflix's, has a long average of R in place of R₀, which
 * takes in a slow spell and overload alike: the limit grows while either lasts.
 */
export class GradientLimit implements AdaptiveLimit {
  readonly #bounds: AdaptiveLimitBounds;
  readonly #tolerance: number;
  readonly #noLoad: NoLoadTime;
  #limit: number;

  constructor(options: GradientLimitOptions = {}) {
    const { tolerance = 1.5 } = options;
    checkAtLeast('tolerance', tolerance, 1);
    this.#bounds = adaptiveLimitBounds(options);
    this.#tolerance = tolerance;
    this.#noLoad = new NoLoadTime(this.#bounds.minLimit, options.windowMs, 1 / 4);
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
    const { meanMs, maxInFlight, failed } = this.#noLoad.window;
    const { minLimit, maxLimit } = this.#bounds;
    const before = this.#limit;
    this.#noLoad.seen(meanMs);
    this.#limit = Math.min(maxLimit, Math.max(minLimit, this.#next(meanMs, maxInFlight, failed)));
    this.#noLoad.moved(this.#limit, before);
  }

  #next(meanMs: number | undefined, maxInFlight: number, failed: boolean): number {
    const limit = this.#limit;
    if (failed) return limit * (0.8 + 0.5 * 0.2);
    // A limit that was not reached proves nothing.
    if (maxInFlight * 2 < limit || meanMs === undefined) return limit;
    const ratio = meanMs > 0 ? (this.#tolerance * this.#noLoad.ms) / meanMs : 1;
    const gradient = Math.max(0.5, Math.min(1, ratio));
    const next = limit * gradient + Math.min(mostQueued, Math.sqrt(limit));
    return next >= limit ? next : limit * 0.8 + next * 0.2;
  }
}

const mostQueued = 4;
