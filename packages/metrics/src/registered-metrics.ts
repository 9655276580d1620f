import {
  Counter,
  Gauge,
  Histogram,
  type OpenMetricsContentType,
  type PrometheusContentType,
  type Registry,
} from 'prom-client';
import { MetricsError } from './errors.ts';

/** A registry of prom-client, in either of its formats. */
export type MetricsRegistry = Registry<PrometheusContentType> | Registry<OpenMetricsContentType>;

export interface RegisteredMetricsOptions {
  registry: MetricsRegistry;
  prefix: string;
  /** Called by each metric when the registry asks for its values. */
  collect: () => void;
}

/** The metrics that one `Metrics` has in a registry. Asked again for a name, it gives the same metric. */
export class RegisteredMetrics {
  readonly #options: RegisteredMetricsOptions;
  readonly #metrics = new Map<string, Counter | Gauge | Histogram>();
  readonly #gauges: Gauge[] = [];

  constructor(options: RegisteredMetricsOptions) {
    this.#options = options;
  }

  counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
    return this.#once(name, (options) => new Counter({ ...options, help, labelNames }));
  }

  /**
   * Its values are those of one scrape: they are gone when the next begins.
   * @param aggregator How prom-client's AggregatorRegistry joins the processes of a cluster: a sum of ratios is none.
   */
  gauge(name: string, help: string, labelNames: readonly string[] = [], aggregator: 'sum' | 'average' = 'sum'): Gauge {
    return this.#once(name, (options) => {
      const gauge = new Gauge({ ...options, help, labelNames, aggregator });
      this.#gauges.push(gauge);
      return gauge;
    });
  }

  histogram(name: string, help: string, labelNames: readonly string[], buckets: readonly number[]): Histogram {
    return this.#once(name, (options) => new Histogram({ ...options, help, labelNames, buckets: [...buckets] }));
  }

  resetGauges(): void {
    for (const gauge of this.#gauges) gauge.reset();
  }

  /** Takes them out of the registry. */
  removeAll(): void {
    const { registry } = this.#options;
    for (const [name, metric] of this.#metrics)
      if ((registry.getSingleMetric(name) as unknown) === metric) registry.removeSingleMetric(name);
    this.#metrics.clear();
  }

  #once<M extends Counter | Gauge | Histogram>(
    plainName: string,
    create: (options: { name: string; registers: MetricsRegistry[]; collect: () => void }) => M,
  ): M {
    const { registry, prefix, collect } = this.#options;
    const name = prefix + plainName;
    const known = this.#metrics.get(name);
    if (known !== undefined) return known as M;
    if (registry.getSingleMetric(name) !== undefined) {
      throw new MetricsError(
        'ERR_METRIC_EXISTS',
        `the registry already has a metric "${name}"; give another registry or a prefix, or close the Metrics that made it`,
      );
    }
    const metric = create({ name, registers: [registry], collect });
    this.#metrics.set(name, metric);
    return metric;
  }
}
