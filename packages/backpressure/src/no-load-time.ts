import { SampleWindow } from './sample-window.ts';

const suspiciousShrinks = 5;
/** In windows. */
const minProbeGap = 10;
const maxProbeGap = 200;

/**
 * How long calls take when none waits for another inside the service: the shortest window mean seen. A service that has become
 * slower looks like one with a queue, so this is measured afresh now and then, and soon where the limit keeps shrinking:
 * for two windows the limit is a share of what it was, and only calls that started under it are looked at (as BBR's ProbeRTT does; Cardwell
 * and others, ACM Queue 14(5), 2016).
 */
export class NoLoadTime {
  /** Milliseconds; infinite while nothing is known. */
  ms: number = Number.POSITIVE_INFINITY;
  /** Of the calls that are looked at, be it for the limit or for the time without load. */
  readonly window: SampleWindow;
  readonly #minLimit: number;
  readonly #share: number;
  /** The first window may have been one of overload already. */
  #windowsSinceProbe = maxProbeGap;
  #shrinksInRow = 0;
  #limitInProbe: number | undefined;
  #windowsOfProbe = 0;

  /** @param share what the limit is lowered to, as a share of itself, while the time is measured */
  constructor(minLimit: number, windowMs: number | undefined, share: number) {
    this.#minLimit = minLimit;
    this.#share = share;
    this.window = new SampleWindow(windowMs);
  }

  /** The limit while it is measured, else undefined. */
  get limitInProbe(): number | undefined {
    return this.#limitInProbe;
  }

  /** A call that ended. True if that completed a window by which the limit is to move. */
  add(now: number, runMs: number, inFlight: number, failed: boolean): boolean {
    if (this.#limitInProbe !== undefined && inFlight > this.#limitInProbe) return false;
    if (!this.window.add(now, runMs, inFlight, failed)) return false;
    if (this.#limitInProbe === undefined) return true;
    // What ends first is what is short.
    if (--this.#windowsOfProbe > 0) return false;
    this.ms = this.window.meanMs ?? this.ms;
    this.giveUp();
    return false;
  }

  /** Back to where the limit was; the window begins with the next call. */
  giveUp(): void {
    this.#limitInProbe = undefined;
    this.window.clear();
  }

  /** What a window says; true if none has said less. */
  seen(windowMs: number | undefined): boolean {
    if (windowMs === undefined || windowMs >= this.ms) return false;
    this.ms = windowMs;
    return true;
  }

  /** The limit after a window, and before: whether it is time to measure is seen from its way. */
  moved(limit: number, before: number): void {
    this.#windowsSinceProbe++;
    this.#shrinksInRow = Math.floor(limit) < Math.floor(before) ? this.#shrinksInRow + 1 : 0;
    if (this.#windowsSinceProbe < (this.#shrinksInRow >= suspiciousShrinks ? minProbeGap : maxProbeGap)) return;
    this.#windowsSinceProbe = 0;
    this.#shrinksInRow = 0;
    this.#windowsOfProbe = 2;
    this.#limitInProbe = Math.max(this.#minLimit, Math.floor(limit * this.#share));
    // Its first window begins with the first call that began under it.
    this.window.clear();
  }
}
