import type { AdaptiveLimit } from '@x/backpressure';

/**
 * Gradient2 of Netflix concurrency-limits with its defaults, from its source: windows of a second and ten calls at least, their mean S
 * beside a long average M (the mean of the first 10 windows, then exponential over 600, which falls by a twentieth where it is more than twice S),
 * g = max(1/2, min(1, 1.5 M / S)), L = 0.8 L + 0.2 (g L + 4), from 20 to 200; a window that used less than half of L changes nothing.
 */
export class Gradient2 implements AdaptiveLimit {
  #limit = 20;
  #usualMs = 0;
  #windows = 0;
  #endsAt: number | undefined;
  #count = 0;
  #sumMs = 0;
  #most = 0;

  get limit(): number {
    return Math.floor(this.#limit);
  }

  record(now: number, runMs: number, inFlight: number): void {
    this.#endsAt ??= now + 1_000;
    this.#count++;
    this.#sumMs += runMs;
    this.#most = Math.max(this.#most, inFlight);
    if (now < this.#endsAt || this.#count < 10) return;
    this.#update(this.#sumMs / this.#count, this.#most);
    this.#endsAt = now + 1_000;
    this.#count = 0;
    this.#sumMs = 0;
    this.#most = 0;
  }

  #update(meanMs: number, maxInFlight: number): void {
    this.#windows++;
    this.#usualMs += (meanMs - this.#usualMs) * (this.#windows <= 10 ? 1 / this.#windows : 2 / 601);
    const usualMs = this.#usualMs;
    if (usualMs > 2 * meanMs) this.#usualMs *= 0.95;
    if (maxInFlight < this.#limit / 2) return;
    const gradient = Math.max(0.5, Math.min(1, (1.5 * usualMs) / meanMs));
    const next = this.#limit * 0.8 + (this.#limit * gradient + 4) * 0.2;
    this.#limit = Math.max(20, Math.min(200, next));
  }
}
