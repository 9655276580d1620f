/** How long each origin took for its latest answers. */
export class Latencies {
  readonly #origins = new Map<string, Latest>();

  observe(origin: string, ms: number): void {
    let latest = this.#origins.get(origin);
    if (latest === undefined) {
      latest = new Latest();
      if (this.#origins.size >= maxOrigins) {
        for (const longestKnown of this.#origins.keys()) {
          this.#origins.delete(longestKnown);
          break;
        }
      }
      this.#origins.set(origin, latest);
    }
    latest.observe(ms);
  }

  /** What 95 % of the latest answers took at most, in milliseconds; undefined while there are too few of them. */
  p95(origin: string): number | undefined {
    return this.#origins.get(origin)?.p95;
  }
}

class Latest {
  readonly #samples = new Float64Array(keptSamples);
  #count = 0;
  /** Worked out anew with every twentieth answer. */
  p95: number | undefined;

  observe(ms: number): void {
    this.#samples[this.#count++ % keptSamples] = ms;
    if (this.#count % leastSamples !== 0) return;
    const sorted = this.#samples.slice(0, Math.min(this.#count, keptSamples)).sort();
    this.p95 = sorted[Math.ceil(sorted.length * 0.95) - 1];
  }
}

const keptSamples = 200;
const leastSamples = 20;

/** Hosts may be named by strangers: no more of them are remembered. */
const maxOrigins = 1_000;
