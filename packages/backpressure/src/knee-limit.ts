import type { AdaptiveLimit } from './adaptive-limit.ts';
import { type AdaptiveLimitBounds, adaptiveLimitBounds } from './sample-window.ts';

export interface KneeLimitOptions {
  /** The limit to begin with. A whole number from 1, default 20, or the bound that is nearest to it. */
  initialLimit?: number | undefined;
  /** Never below this. A whole number from 1, default 1. */
  minLimit?: number | undefined;
  /** Never above this. A whole number, default 1,000. */
  maxLimit?: number | undefined;
}

/**
 * Looks for the knee: how much the service works on at once, W, above which calls only wait inside it. By Little's law a
 * service that is busy takes the longer the more it was given: R(n) = S · max(1, n / W). So calls that started when little was
 * in flight (up to 0.65 of the limit L) are compared with calls that started when the limit was reached, of the same moments:
 * W = L · R(few) / R(many), and L = 1.2 W + 1. Only the ratio counts: a service that becomes slower as such slows both kinds alike
 * and leaves the limit where it was, which limits that remember a fastest time (Vegas, Gradient) take for a queue.
 *
 * Under lasting load there are no calls of the first kind, so for some of them, now and then, the limit is lowered to 0.65 L
 * (as BBR's ProbeRTT does; Cardwell and others, ACM Queue 14(5), 2016); the longer the answers agree, the rarer. Run
 * times count up to four times their geometric mean, or a few very long calls would drown all others. The first answers
 * are taken in whole until one points the other way; from then on the estimate is their mean (the n-th has the weight 1/n, at
 * least a fifth), and while they keep one direction it follows them faster.
 * A call that failed for overload makes the limit smaller by a tenth, at most once in 100 ms and ten calls. Since 1 cannot be
 * compared with less, the limit is 1 only at the start or where `maxLimit` is.
 */
export class KneeLimit implements AdaptiveLimit {
  readonly #bounds: AdaptiveLimitBounds;
  /** How much the service works on at once, as far as is known. */
  #knee: number;
  readonly #few = new Sample();
  readonly #many = new Sample();
  #meanLogMs: number | undefined;
  /** Until the first answer that points the other way than the one before, every answer is taken in whole. */
  #searching = true;
  #direction = 0;
  /** Smoothed logarithm of answer / estimate: far from 0 where the answers have one direction. */
  #drift = 0;
  /** Since the search ended. */
  #answers = 0;
  #probeBeganAt: number | undefined;
  #probed = 0;
  /** Calls of a probe end after it: no answer before, or the longest would be missing among the few. */
  #settledAt = Number.NEGATIVE_INFINITY;
  #lastAnswerAt: number | undefined;
  #probeGapMs = 0;
  #lastCutAt = Number.NEGATIVE_INFINITY;
  #callsSinceCut = 0;
  #failedSinceCut = false;

  constructor(options: KneeLimitOptions = {}) {
    this.#bounds = adaptiveLimitBounds(options);
    this.#knee = (this.#bounds.initialLimit - 1) / headroom;
  }

  get limit(): number {
    return this.#probeBeganAt === undefined ? this.#full : this.#lowered;
  }

  record(now: number, runMs: number, inFlight: number, failed: boolean): void {
    this.#lastAnswerAt ??= now;
    this.#callsSinceCut++;
    // How soon it failed says nothing of a queue.
    if (!failed) this.#collect(now, runMs, inFlight);
    this.#failedSinceCut ||= failed;
    if (this.#failedSinceCut) this.#cut(now);
    if (this.#probeBeganAt !== undefined) {
      if (this.#probed >= this.#enough || now - this.#probeBeganAt > maxProbeMs) this.#endProbe(now);
      return;
    }
    if (now < this.#settledAt) return;
    if (this.#full === 1 && this.#few.count >= this.#enough) this.#setKnee(leastKnee);
    for (const sample of [this.#few, this.#many]) {
      if (sample.count < this.#enough && now - sample.beganAt > Math.max(1_000, 30 * sample.mean)) sample.clear();
    }
    if (this.#many.count < this.#enough) return;
    if (this.#few.count >= this.#enough) this.#answer(now);
    else if (now - this.#lastAnswerAt >= this.#probeGapMs && this.#lowered < this.#full) this.#beginProbe(now);
  }

  stalled(now: number): void {
    if (this.#probeBeganAt !== undefined) this.#endProbe(now);
  }

  get #full(): number {
    const { minLimit, maxLimit } = this.#bounds;
    return Math.min(maxLimit, Math.max(minLimit, Math.floor(this.#knee * headroom + 1)));
  }

  get #lowered(): number {
    return Math.max(this.#bounds.minLimit, Math.floor(this.#full * few));
  }

  /** Calls of each kind for an answer. Far from the knee a rough one will do. */
  get #enough(): number {
    return this.#searching ? Math.max(20, this.#full) : Math.max(30, 2 * this.#full);
  }

  #collect(now: number, runMs: number, inFlight: number): void {
    const log = Math.log(Math.max(runMs, leastMs));
    this.#meanLogMs = this.#meanLogMs === undefined ? log : this.#meanLogMs + (log - this.#meanLogMs) / 30;
    const counted = Math.min(runMs, 4 * Math.exp(this.#meanLogMs));
    if (inFlight <= this.#lowered) {
      this.#few.add(counted, now, Number.POSITIVE_INFINITY);
      if (this.#probeBeganAt !== undefined) this.#probed++;
    } else if (inFlight >= many * this.#full && this.#probeBeganAt === undefined && now >= this.#settledAt) {
      this.#many.add(counted, now, Math.max(200, 2 * this.#enough));
    }
  }

  #beginProbe(now: number): void {
    this.#probeBeganAt = now;
    this.#probed = 0;
    this.#few.clear();
  }

  #endProbe(now: number): void {
    const tookMs = now - (this.#probeBeganAt ?? now);
    this.#probeBeganAt = undefined;
    this.#settledAt = now + 5 * this.#few.mean;
    // Whatever the calls take, probes take a small part of the time.
    this.#probeGapMs = Math.max(this.#probeGapMs, 4 * tookMs);
  }

  #answer(now: number): void {
    const ratio = this.#many.mean > 0 ? this.#few.mean / this.#many.mean : 1;
    // The knee is not outside of what was looked at. Symmetrical, so that noise does not push one way.
    const least = this.#leastRatio;
    const answer = this.#full * Math.min(1 / few, Math.max(least, ratio));
    const error = Math.log(answer / this.#knee);
    this.#drift += (error - this.#drift) * 0.4;
    if (this.#direction !== 0 && Math.sign(error) !== this.#direction) this.#searching = false;
    this.#direction = Math.sign(error);
    if (!this.#searching) this.#answers++;
    const weight = Math.max(1 / (1 + this.#answers), leastWeight);
    this.#setKnee(this.#knee * Math.exp(Math.min(1, weight * Math.max(1, (this.#drift / 0.15) ** 2)) * error));
    const agrees = Math.abs(this.#drift) < 0.12 && this.#answers >= answersForRest;
    // The least ratio says only that the knee is no higher: no reason to ask more rarely.
    const gap = agrees ? Math.min(maxProbeGapMs, this.#probeGapMs * (ratio > least ? 2 : 1)) : 0;
    this.#probeGapMs = Math.max(gap, this.#searching ? 0 : minProbeGapMs);
    this.#lastAnswerAt = now;
    this.#few.clear();
    this.#many.clear();
  }

  /** Where calls are few, what is lowered is rounded down to a smaller share; below five that share would be too wide a range for noise. */
  get #leastRatio(): number {
    return this.#full >= 5 ? Math.min(few, this.#lowered / this.#full) : few;
  }

  #cut(now: number): void {
    if (this.#callsSinceCut < 10 || now - this.#lastCutAt < 100) return;
    if (this.#knee > leastKnee) this.#setKnee(this.#knee * 0.9);
    this.#lastCutAt = now;
    this.#callsSinceCut = 0;
    this.#failedSinceCut = false;
  }

  /** Within the bounds, or it would have to come back from beyond them first. */
  #setKnee(knee: number): void {
    const { minLimit, maxLimit } = this.#bounds;
    this.#knee = Math.min(maxLimit / headroom, Math.max((minLimit - 1) / headroom, leastKnee, knee));
  }
}

const headroom = 1.2;
const few = 0.65;
const many = 0.9;
const minProbeGapMs = 300;
const maxProbeGapMs = 8_000;
const maxProbeMs = 5_000;
const leastMs = 0.001;
/** A service works on one call at least. */
const leastKnee = 1;
const leastWeight = 0.2;
const answersForRest = 4;

/** A mean over the last calls of a kind. */
class Sample {
  count = 0;
  mean = 0;
  /** When the first call came. */
  beganAt = 0;

  add(value: number, now: number, over: number): void {
    if (this.count++ === 0) this.beganAt = now;
    this.mean += (value - this.mean) / Math.min(this.count, over);
  }

  clear(): void {
    this.count = 0;
    this.mean = 0;
  }
}
