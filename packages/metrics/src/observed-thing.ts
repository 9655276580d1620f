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
  limit: SeriesLimit;
}

/** A thing with `stats()`, and the series of prom-client's metrics that show it. */
export class ObservedThing<K extends ObservableKind> {
  readonly #name: string;
  readonly #thing: Observable<K>;
  readonly #options: ObserveOptions;
  readonly #limit: SeriesLimit;
  readonly #shown: readonly (Shown & { family: Family<StatsByKind[K]> })[];
  readonly #series = new Map<string, Series>();
  #removed = false;

  constructor({ kind, name, thing, options, metrics, limit }: ObservedThingOptions<K>) {
    this.#name = name;
    this.#thing = thing;
    this.#options = options;
    this.#limit = limit;
    this.#shown = families[kind].map((family) => {
      const labels = [nameLabels[kind], ...family.labels];
      return { family, labels, metric: metrics[family.type](family.name, family.help, labels) };
    });
  }

  /** Shows what `stats()` says now, and returns it. Throws what it throws. */
  collect(): StatsByKind[K] {
    const stats = this.#thing.stats();
    if ((stats as unknown) instanceof Promise) {
      (stats as unknown as Promise<unknown>).catch(() => {});
      throw new TypeError(`@x/metrics: stats() of "${this.#name}" must return its numbers at once, got a promise`);
    }
    // A thing that is observed no more since its own stats() was called.
    if (this.#removed) return stats;
    for (const shown of this.#shown) this.#show(shown, [this.#name], shown.family.read(stats, this.#options));
    return stats;
  }

  /** Takes its series away. */
  remove(): void {
    this.#removed = true;
    for (const series of this.#series.values()) series.remove();
  }

  #show(shown: Shown, labelValues: readonly string[], reading: Reading): void {
    if (typeof reading === 'object' && reading !== null) {
      for (const [value, part] of Object.entries(reading)) this.#show(shown, [...labelValues, value], part);
      return;
    }
    if (!isShowable(reading, shown.family.type)) return;
    const key = [shown.family.name, ...labelValues].join('\u0000');
    let series = this.#series.get(key);
    if (series === undefined) {
      series = openSeries(shown, labelValues, this.#limit);
      this.#series.set(key, series);
    }
    series.show(reading);
  }
}

interface Shown {
  readonly family: Pick<Family<never>, 'name' | 'type'>;
  readonly labels: readonly string[];
  readonly metric: Counter | Gauge;
}

interface Series {
  show(value: number): void;
  remove(): void;
}

function openSeries({ family, metric, labels: names }: Shown, values: readonly string[], limit: SeriesLimit): Series {
  const own = limit.admit(family.name);
  const labels = Object.fromEntries(names.map((label, index) => [label, own ? (values[index] ?? '') : OTHER]));
  const remove = () => {
    if (!own) return;
    metric.remove(labels);
    limit.release(family.name);
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
