import type { PrintedValue, RegistryMetric } from './family.ts';

/** Counts for one set of labels. Filled on the hot path: `record` searches and adds, and allocates nothing. */
export class DurationSeries {
  readonly #bounds: Float64Array;
  readonly #counts: Float64Array;
  #sum = 0;
  #count = 0;

  constructor(bounds: Float64Array) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length);
  }

  record(seconds: number): void {
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((bounds[middle] as number) < seconds) low = middle + 1;
      else high = middle;
    }
    if (low < bounds.length) (this.#counts[low] as number)++;
    this.#sum += seconds;
    this.#count++;
  }

  print(name: string, labels: PrintedValue['labels'], into: PrintedValue[]): void {
    let cumulated = 0;
    for (let index = 0; index < this.#bounds.length; index++) {
      cumulated += this.#counts[index] as number;
      into.push({
        metricName: `${name}_bucket`,
        labels: { le: this.#bounds[index] as number, ...labels },
        value: cumulated,
      });
    }
    into.push({ metricName: `${name}_bucket`, labels: { le: '+Inf', ...labels }, value: this.#count });
    into.push({ metricName: `${name}_sum`, labels, value: this.#sum });
    into.push({ metricName: `${name}_count`, labels, value: this.#count });
  }

  reset(): void {
    this.#counts.fill(0);
    this.#sum = 0;
    this.#count = 0;
  }
}

/**
 * A histogram of seconds that prints what prom-client's Histogram prints. It is not built on that one because its
 * `observe` puts the labels together to a key on each call, also through a child made by `labels()`, which costs some
 * five times what the counting does; here a series is found once and kept.
 */
export class DurationHistogram implements RegistryMetric {
  name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #bounds: Float64Array;
  readonly #series: { readonly labels: PrintedValue['labels']; readonly series: DurationSeries }[] = [];

  /** @param bounds Upper bounds of the buckets in seconds, ascending, without infinity. */
  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#bounds = Float64Array.from(bounds);
  }

  get size(): number {
    return this.#series.length;
  }

  /** Adds a series, shown from now on with zeros: rate() does not see a series' first event if it begins with 1. */
  add(labels: PrintedValue['labels']): DurationSeries {
    const series = new DurationSeries(this.#bounds);
    this.#series.push({ labels, series });
    return series;
  }

  async get(): ReturnType<RegistryMetric['get']> {
    const values: PrintedValue[] = [];
    for (const { labels, series } of this.#series) series.print(this.name, labels, values);
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }

  reset(): void {
    for (const { series } of this.#series) series.reset();
  }
}
