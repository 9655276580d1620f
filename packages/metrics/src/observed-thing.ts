import { type Counter, Gauge } from 'prom-client';
import { OTHER } from './bounded-label.ts';
import { type Family, families, nameLabels, type Reading } from './families.ts';
import type { Observable, ObservableKind, ObserveOptions, StatsByKind } from './observable.ts';
import type { RegisteredMetrics } from './registered-metrics.ts';
import type { SeriesLimit } from './series-limit.ts';

export interface ObservedThingOptions<K extends ObservableKind> {
  kind: K;
  name: string;
  thing: Observable<K>;
  options: ObserveOptions;
  metrics: RegisteredMetrics;
  /** `metrics_collect_errors_total`. */
  errors: Counter;
  limit: SeriesLimit;
}

/** A thing with `stats()`, and the series of prom-client's metrics that show it. */
export class ObservedThing<K extends ObservableKind> {
  readonly #kind: K;
  readonly #name: string;
  readonly #thing: Observable<K>;
  readonly #options: ObserveOptions;
  readonly #limit: SeriesLimit;
  readonly #shown: readonly { family: Family<StatsByKind[K]>; target: Target }[];
  readonly #errorsTarget: Target;
  readonly #series = new Map<string, Series>();
  #errors = 0;

  constructor({ kind, name, thing, options, metrics, errors, limit }: ObservedThingOptions<K>) {
    this.#kind = kind;
    this.#name = name;
    this.#thing = thing;
    this.#options = options;
    this.#limit = limit;
    this.#errorsTarget = { name: 'metrics_collect_errors_total', metric: errors, labels: ['kind', 'name'] };
    this.#shown = families[kind].map((family) => {
      const labels = [nameLabels[kind], ...family.labels];
      const metric = metrics[family.type](family.name, family.help, labels);
      return { family, target: { name: family.name, metric, labels } };
    });
  }

  /** Shows what `stats()` says now, and returns it. Throws what it throws. */
  collect(): StatsByKind[K] {
    const stats = this.#thing.stats();
    for (const { family, target } of this.#shown)
      this.#show(target, [this.#name], family.read(stats, this.#options), family.type);
    return stats;
  }

  /** `collect` threw. */
  countError(): void {
    this.#errors += 1;
    this.#seriesOf(this.#errorsTarget, [this.#kind, this.#name]).show(this.#errors);
  }

  /** Takes its series away. */
  remove(): void {
    for (const series of this.#series.values()) series.remove();
  }

  #show(target: Target, labelValues: readonly string[], reading: Reading, type: Family<unknown>['type']): void {
    if (typeof reading === 'object' && reading !== null) {
      for (const [value, part] of Object.entries(reading)) this.#show(target, [...labelValues, value], part, type);
    } else if (isShowable(reading, type)) {
      this.#seriesOf(target, labelValues).show(reading);
    }
  }

  #seriesOf(target: Target, labelValues: readonly string[]): Series {
    const key = [target.name, ...labelValues].join('\u0000');
    let series = this.#series.get(key);
    if (series === undefined) {
      series = openSeries(target, labelValues, this.#limit);
      this.#series.set(key, series);
    }
    return series;
  }
}

interface Target {
  readonly name: string;
  readonly metric: Counter | Gauge;
  readonly labels: readonly string[];
}

interface Series {
  show(value: number): void;
  remove(): void;
}

function openSeries({ name, metric, labels: names }: Target, values: readonly string[], limit: SeriesLimit): Series {
  const own = limit.admit(name);
  const labels = Object.fromEntries(names.map((label, index) => [label, own ? (values[index] ?? '') : OTHER]));
  const remove = () => {
    if (!own) return;
    metric.remove(labels);
    limit.release(name);
  };
  if (metric instanceof Gauge) {
    // Gauges of different things do not add up, so those past the limit are not shown at all.
    return { show: (value) => own && metric.set(labels, value), remove };
  }
  let last = 0;
  const show = (value: number) => {
    // Less than last time: the source has started again, and counts from zero (Prometheus' own rule for rate()).
    metric.inc(labels, value < last ? value : value - last);
    last = value;
  };
  return { show, remove };
}

function isShowable(value: unknown, type: 'counter' | 'gauge'): value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) return false;
  return type === 'gauge' || (value >= 0 && value < Infinity);
}
