import type { AdaptiveLimit } from './adaptive-limit.ts';
import { checkAtLeast } from './option-checks.ts';
import {
  type AdaptiveLimitBounds,
  type AdaptiveLimitOptions,
  adaptiveLimitBounds,
  SampleWindow,
} from './sample-window.ts';

export interface GradientLimitOptions extends AdaptiveLimitOptions {
  /** How much longer than usual calls may take before the limit shrinks. From 1, default 1.5. */
  tolerance?: number | undefined;
}

/**
 * Compares how long calls take now with how long they usually take. With the window's mean S and its long average M,
 * g = max(½, min(1, tolerance · M / S)) and L ← 0.8 L + 0.2 (g L + 4): the 4 is the queue that is allowed while all is well.
 * After Gradient2 of Netflix concurrency-limits; a window with a call that failed for overload counts as g = ½, which
 * is not in the original. While overload lasts M grows too, and the limit drifts upwards with it: give it a `maxLimit`, or
 * take `VegasLimit`, which does not.
 */
export class GradientLimit implements AdaptiveLimit {
  readonly #bounds: AdaptiveLimitBounds;
  readonly #tolerance: number;
  readonly #window: SampleWindow;
  #limit: number;
  #usualMs = 0;
  #windows = 0;

  constructor(options: GradientLimitOptions = {}) {
    const { tolerance = 1.5 } = options;
    checkAtLeast('tolerance', tolerance, 1);
    this.#bounds = adaptiveLimitBounds(options);
    this.#tolerance = tolerance;
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
    this.#windows = Math.min(this.#windows + 1, usualOver);
    this.#usualMs += (meanMs - this.#usualMs) / this.#windows;
    // After a slow spell the average is stale, and would let the limit grow far too much.
    if (this.#usualMs > 2 * meanMs) this.#usualMs *= 0.95;
    if (!failed && maxInFlight * 2 < this.#limit) return;
    const ratio = meanMs > 0 ? (this.#tolerance * this.#usualMs) / meanMs : 1;
    const gradient = failed ? 0.5 : Math.max(0.5, Math.min(1, ratio));
    const next = this.#limit * 0.8 + (this.#limit * gradient + (failed ? 0 : queueAllowed)) * 0.2;
    this.#limit = Math.min(this.#bounds.maxLimit, Math.max(this.#bounds.minLimit, next));
  }
}

const queueAllowed = 4;
const usualOver = 600;
