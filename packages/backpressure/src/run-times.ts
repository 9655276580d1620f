/**
 * How long work takes of late. The mean is what a permit is worth (Little's law); what one call may need is better told by the
 * middle and the upper end, which a few very long calls do not move. Both are followed by small steps whose ups and downs
 * balance where the wanted share of calls is shorter (Robbins and Monro, 1951): a few numbers, whatever the distribution.
 */
export class RunTimes {
  count = 0;
  /** Over about the last ten calls, in milliseconds; 0 while nothing is known. */
  meanMs = 0;
  /** Half of the calls take longer; 0 while nothing is known. */
  typicalMs = 0;
  /** One call in twenty takes longer; 0 while nothing is known. */
  longMs = 0;
  /** The first calls, in order of length: the steps would take long from a bad start. */
  readonly #first: number[] = [];

  /**
   * One that is to be ignored (its caller left, its argument was wrong) still held a permit for so long, but might have needed
   * longer: it counts for what a call may need only where it shows that this is more than was thought.
   */
  add(runMs: number, ignored = false): void {
    this.count++;
    this.meanMs += (runMs - this.meanMs) / Math.min(this.count, meanOver);
    if (ignored && runMs <= this.typicalMs) return;
    if (this.#first.length < firstCalls) {
      this.#first.push(runMs);
      this.#first.sort((a, b) => a - b);
      this.typicalMs = Math.max(leastMs, this.#first[this.#first.length >> 1] ?? 0);
      this.longMs = Math.max(leastMs, this.#first.at(-1) ?? 0);
      return;
    }
    const longMs =
      ignored && runMs <= this.longMs ? this.longMs : towards(runMs, this.longMs, step * 0.95, step * 0.05);
    this.typicalMs = towards(runMs, this.typicalMs, step * 0.5, step * 0.5);
    this.longMs = Math.max(this.typicalMs, longMs);
  }
}

const firstCalls = 10;
const meanOver = 10;
/** As a share of the value: large enough to follow a dependency that becomes four times slower within thirty calls. */
const step = 0.1;
/** From 0 one would never come up again. */
const leastMs = 0.01;

function towards(runMs: number, value: number, up: number, down: number): number {
  const moved = runMs > value ? Math.min(runMs, value * (1 + up)) : Math.max(runMs, value * (1 - down));
  return Math.max(leastMs, moved);
}
