import { OTHER } from './bounded-label.ts';
import type { Sample } from './families.ts';

/** One value in the form that prom-client's Registry prints. */
export interface PrintedValue {
  value: number;
  labels: { readonly [label: string]: string | number };
  metricName?: string;
}

/** What prom-client's Registry asks of a metric: it calls `get` (and `reset`) and needs none of its own classes. */
export interface RegistryMetric {
  name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly aggregator: 'sum' | 'average';
  get(): Promise<{
    name: string;
    help: string;
    type: string;
    aggregator: string;
    values: PrintedValue[];
  }>;
  reset(): void;
}

export interface FamilyOptions {
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  labels: readonly string[];
  aggregator: 'sum' | 'average';
  /** Series with values of their own; further ones are added up under `__other__` (counters) or left out (gauges). */
  maxSeries: number;
  /** Called before values are read. */
  collect: () => void;
}

/**
 * A metric whose values are read from elsewhere, all at once: `begin()`, any number of `add()`, `end()`.
 *
 * A counter is kept as a total that only grows: it moves on by the difference to what was read last, and by the whole
 * value where less is read than last time, since then its source has started again. (Prometheus' own rule for rate().)
 */
export class Family implements RegistryMetric {
  // Not readonly: an OpenMetrics registry renames its counters.
  name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly aggregator: 'sum' | 'average';
  readonly #labels: readonly string[];
  readonly #maxSeries: number;
  readonly #collect: () => void;
  readonly #series = new Map<string, Series>();
  #dropped = 0;
  #mostDropped = 0;

  constructor(options: FamilyOptions) {
    this.name = options.name;
    this.help = options.help;
    this.type = options.type;
    this.aggregator = options.aggregator;
    this.#labels = options.labels;
    this.#maxSeries = options.maxSeries;
    this.#collect = options.collect;
  }

  /** How many series were left without a value of their own, at most at one time. */
  get droppedSeries(): number {
    return this.#mostDropped;
  }

  begin(): void {
    this.#dropped = 0;
    for (const series of this.#series.values()) series.seen = false;
  }

  /** @param owner What the series goes away with, see `remove`. */
  add(owner: object, thingName: string | undefined, { labels, value, of }: Sample): void {
    if (
      typeof value !== 'number' ||
      Number.isNaN(value) ||
      (this.type === 'counter' && !(value >= 0 && value < Infinity))
    )
      return;
    const series = this.#find(owner, thingName === undefined ? labels : [thingName, ...labels]);
    if (series === undefined) return;
    if (!series.seen) {
      series.seen = true;
      series.read = 0;
      series.of = of === undefined ? undefined : 0;
    }
    series.read += value;
    if (of !== undefined) series.of = (series.of ?? 0) + of;
  }

  end(): void {
    this.#mostDropped = Math.max(this.#mostDropped, this.#dropped);
    for (const series of this.#series.values()) {
      if (this.type === 'gauge') {
        series.total = series.of === undefined ? series.read : series.read / series.of;
      } else if (series.seen) {
        const moved = series.read - series.last;
        // Several sources meet in the overflow series: when one goes away the others have not started again.
        series.total += moved >= 0 ? moved : series.owner === undefined ? 0 : series.read;
        series.last = series.read;
      }
    }
  }

  /** Forgets the series of a thing that is observed no more. */
  remove(owner: object): void {
    for (const [key, series] of this.#series) if (series.owner === owner) this.#series.delete(key);
  }

  async get(): ReturnType<RegistryMetric['get']> {
    this.#collect();
    const values: PrintedValue[] = [];
    for (const { labels, total, seen } of this.#series.values()) {
      // A counter whose source is silent for once stays where it was; a gauge would tell something that may be over.
      if (this.type === 'counter' || (seen && !Number.isNaN(total))) values.push({ labels, value: total });
    }
    if (values.length === 0 && this.#labels.length === 0) values.push({ labels: {}, value: 0 });
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }

  /** For `registry.resetMetrics()`: counters go on from zero. */
  reset(): void {
    for (const series of this.#series.values()) series.total = 0;
  }

  #find(owner: object, values: readonly string[]): Series | undefined {
    const key = values.join('\u0000');
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    if (this.#series.size < this.#maxSeries) return this.#create(key, owner, values);
    this.#dropped++;
    if (this.type === 'gauge') return undefined;
    const overflow = values.map(() => OTHER);
    const overflowKey = overflow.join('\u0000');
    return this.#series.get(overflowKey) ?? this.#create(overflowKey, undefined, overflow);
  }

  #create(key: string, owner: object | undefined, values: readonly string[]): Series {
    const labels = Object.fromEntries(this.#labels.map((label, index) => [label, values[index] ?? '']));
    const series: Series = { owner, labels, seen: false, read: 0, of: undefined, last: 0, total: 0 };
    this.#series.set(key, series);
    return series;
  }
}

interface Series {
  readonly owner: object | undefined;
  readonly labels: PrintedValue['labels'];
  /** Whether it was read in this round. */
  seen: boolean;
  /** What was read in this round, added up. */
  read: number;
  of: number | undefined;
  /** What was read in the round before. */
  last: number;
  /** What is printed. */
  total: number;
}
