import type { Counter } from 'prom-client';
import type { RegisteredMetrics } from './registered-metrics.ts';

/** Lets each metric have so many series, which prom-client does not bound, and counts those it turns away. */
export class SeriesLimit {
  readonly maxSeries: number;
  readonly #dropped: Counter;
  readonly #counts = new Map<string, number>();

  constructor(maxSeries: number, metrics: RegisteredMetrics) {
    this.maxSeries = maxSeries;
    this.#dropped = metrics.counter(
      'metrics_dropped_series_total',
      'Series that have no value of their own because their metric has too many.',
      ['metric'],
    );
  }

  /** Whether the metric may have one more series. */
  admit(metric: string): boolean {
    const count = this.#counts.get(metric) ?? 0;
    if (count < this.maxSeries) this.#counts.set(metric, count + 1);
    else this.countDropped(metric, 1);
    return count < this.maxSeries;
  }

  /** A series that was admitted has gone. */
  release(metric: string): void {
    this.#counts.set(metric, (this.#counts.get(metric) ?? 0) - 1);
  }

  countDropped(metric: string, series: number): void {
    this.#dropped.inc({ metric }, series);
  }
}
