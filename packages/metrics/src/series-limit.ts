import type { Counter } from 'prom-client';

/** Lets each metric have so many series, which prom-client does not bound, and counts those it turns away. */
export class SeriesLimit {
  readonly #maxSeries: number;
  readonly #dropped: Counter;
  readonly #counts = new Map<string, number>();

  constructor(maxSeries: number, dropped: Counter) {
    this.#maxSeries = maxSeries;
    this.#dropped = dropped;
  }

  /** Whether the metric may have one more series. */
  admit(metric: string): boolean {
    const count = this.#counts.get(metric) ?? 0;
    if (count < this.#maxSeries) this.#counts.set(metric, count + 1);
    else this.#dropped.inc({ metric });
    return count < this.#maxSeries;
  }

  /** A series that was admitted has gone. */
  release(metric: string): void {
    this.#counts.set(metric, (this.#counts.get(metric) ?? 0) - 1);
  }
}
