import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  collectDefaultMetrics,
  type Metric,
  type OpenMetricsContentType,
  type PrometheusContentType,
  Registry,
} from 'prom-client';
import { type Clock, systemClock } from './clock.ts';
import { MetricsError } from './errors.ts';
import { EventLoopMetrics } from './event-loop.ts';
import { families, nameLabels, totals } from './families.ts';
import { Family, type RegistryMetric } from './family.ts';
import type { Observable, ObservableKind, ObserveOptions } from './observable.ts';
import { checkBuckets, checkCount, checkKind, checkName, checkPrefix, checkThing } from './option-checks.ts';
import { type Scraped, scrapeHandler } from './scrape-handler.ts';
import { ToolMetrics } from './tool-metrics.ts';

/** A registry of prom-client, in either of its formats. */
export type MetricsRegistry = Registry<PrometheusContentType> | Registry<OpenMetricsContentType>;

export interface MetricsOptions {
  /** Where the metrics are registered. Default: a registry of its own, not prom-client's global one. */
  registry?: MetricsRegistry | undefined;
  /** Put before each name, as in `my_server_`. Default none: dashboards and alerts expect the plain names. */
  prefix?: string | undefined;
  /**
   * Upper bounds of the buckets of `tool_execution_duration_seconds`, ascending seconds.
   * Default 1 ms to 60 s in 15 steps. Each bucket is four series for each tool.
   */
  buckets?: readonly number[] | undefined;
  /**
   * Process, heap, GC and event-loop metrics of prom-client (their names are not prefixed), and event-loop utilisation.
   * Default: true if the registry is our own, false if one is given, which may have them already.
   */
  defaultMetrics?: boolean | undefined;
  /** Series for each metric (a histogram counts one for each set of labels). Default 1,000, at least 8. */
  maxSeries?: number | undefined;
  /** Told what went wrong while metrics were collected: a `stats()` that threw, a failed scrape. Default: nobody is. */
  onError?: ((error: unknown) => void) | undefined;
  /** For tests. */
  clock?: Clock | undefined;
}

/** What tools, caches, breakers, limiters, queues, loaders and pools did, for Prometheus. */
export class Metrics implements AsyncDisposable {
  readonly registry: MetricsRegistry;
  /** For node:http and Express: answers GET and HEAD with the metrics. */
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void;

  readonly #prefix: string;
  readonly #maxSeries: number;
  readonly #tools: ToolMetrics;
  readonly #eventLoop: EventLoopMetrics | undefined;
  readonly #observed = new Map<string, Observed>();
  readonly #families = new Map<string, Family>();
  readonly #registered: RegistryMetric[] = [];
  readonly #collectErrors: Family;
  readonly #droppedSeries: Family;
  readonly #onError: (error: unknown) => void;
  readonly #collect: () => void;
  #collected = false;
  #closed = false;

  constructor(options: MetricsOptions = {}) {
    const {
      registry,
      prefix = '',
      buckets = defaultBuckets,
      maxSeries = 1_000,
      onError,
      clock = systemClock,
    } = options;
    checkPrefix(prefix);
    checkBuckets(buckets);
    checkCount('maxSeries', maxSeries, 8);
    this.registry = registry ?? new Registry();
    this.#prefix = prefix;
    this.#maxSeries = maxSeries;
    this.#onError = (error) => {
      try {
        onError?.(error);
      } catch {
        // Whoever listens must not break the scrape.
      }
    };
    this.#collect = () => this.#collectAll();
    this.handler = scrapeHandler(this.registry as Scraped, this.#onError);

    this.#tools = new ToolMetrics({ prefix, buckets, maxSeries, clock, collect: this.#collect });
    for (const metric of [this.#tools.durations, this.#tools.inFlight, this.#tools.refusals]) this.#register(metric);
    for (const total of totals) this.#family({ ...total, type: 'gauge' });
    this.#collectErrors = this.#family({
      name: 'metrics_collect_errors_total',
      help: 'Times that stats() of an observed thing threw while metrics were collected.',
      type: 'counter',
      labels: ['kind', 'name'],
    });
    this.#droppedSeries = this.#family({
      name: 'metrics_dropped_series_total',
      help: 'Series that have no value of their own because their metric has too many.',
      type: 'counter',
      labels: ['metric'],
    });
    if (options.defaultMetrics ?? registry === undefined) {
      collectDefaultMetrics({ register: this.registry as Registry });
      this.#eventLoop = new EventLoopMetrics(prefix, this.#collect);
      for (const family of this.#eventLoop.families) this.#register(family);
    }
  }

  /**
   * Wraps a tool handler, `(args, ctx)` or `(ctx)`, and keeps its type: duration by status, calls in flight, refusals.
   * The same name may be instrumented again, as a server that registers its tools for each request does.
   */
  instrumentTool<F extends (...args: never[]) => unknown>(name: string, handler: F): F {
    this.#checkOpen();
    checkName('instrumentTool', name);
    if (typeof handler !== 'function')
      throw new TypeError(`@x/metrics: instrumentTool handler must be a function, got ${typeof handler}`);
    return this.#tools.instrument(name, handler);
  }

  /**
   * Reads `thing.stats()` at each scrape and shows it under `name`. Returns the function that ends this: the thing's
   * series go away. A name may be used once for each kind at a time.
   */
  observe<K extends ObservableKind>(
    kind: K,
    name: string,
    thing: Observable<K>,
    options: ObserveOptions = {},
  ): () => void {
    this.#checkOpen();
    checkKind(kind, Object.keys(families));
    checkName('observe', name);
    checkThing(kind, name, thing);
    const key = `${kind} ${name}`;
    if (this.#observed.has(key)) {
      throw new MetricsError(
        'ERR_ALREADY_OBSERVED',
        `${kind} "${name}" is already observed; call the function that observe returned first, or choose another name`,
      );
    }
    const own = families[kind].map((definition) => ({
      definition,
      family: this.#family({ ...definition, labels: [nameLabels[kind], ...definition.labels] }),
    }));
    const observed: Observed = {
      kind,
      name: name.length > MAX_NAME ? `${name.slice(0, MAX_NAME - 1)}…` : name,
      errors: 0,
      read: (owner) => {
        const stats = thing.stats();
        for (const { definition, family } of own)
          for (const sample of definition.read(stats, options)) family.add(owner, owner.name, sample);
        for (const total of totals)
          for (const sample of total.from[kind]?.(stats, options) ?? [])
            this.#families.get(total.name)?.add(owner, undefined, sample);
      },
    };
    this.#observed.set(key, observed);
    return () => {
      if (this.#observed.get(key) !== observed) return;
      this.#observed.delete(key);
      for (const family of this.#families.values()) family.remove(observed);
    };
  }

  /** Takes its metrics out of the registry; what prom-client collects by default stays. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#observed.clear();
    for (const metric of this.#registered.splice(0)) {
      for (const name of [metric.name, `${metric.name}_total`])
        if ((this.registry.getSingleMetric(name) as unknown) === metric) this.registry.removeSingleMetric(name);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Registries ask metric after metric, in one turn. The first one asked reads everything for all, so that a thing is
   * read once for a scrape and its numbers belong together.
   */
  #collectAll(): void {
    if (this.#collected) return;
    this.#collected = true;
    queueMicrotask(() => {
      this.#collected = false;
    });
    const all = [
      ...this.#families.values(),
      this.#tools.inFlight,
      this.#tools.refusals,
      ...(this.#eventLoop?.families ?? []),
    ];
    for (const family of all) family.begin();
    this.#tools.collect();
    this.#eventLoop?.collect();
    for (const observed of this.#observed.values()) {
      try {
        observed.read(observed);
      } catch (error) {
        observed.errors++;
        this.#onError(error);
      }
      if (observed.errors > 0)
        this.#collectErrors.add(observed, undefined, {
          labels: [observed.kind, observed.name],
          value: observed.errors,
        });
    }
    for (const family of all) {
      if (family !== this.#droppedSeries) {
        family.end();
        this.#addDropped(family.name, family.droppedSeries);
      }
    }
    this.#addDropped(this.#tools.durations.name, this.#tools.droppedSeries);
    this.#droppedSeries.end();
  }

  #addDropped(metric: string, value: number): void {
    if (value > 0) this.#droppedSeries.add(this.#droppedSeries, undefined, { labels: [metric], value });
  }

  #family(
    definition: Pick<Family, 'name' | 'help' | 'type'> & { labels: readonly string[]; aggregator?: 'sum' | 'average' },
  ): Family {
    const known = this.#families.get(definition.name);
    if (known !== undefined) return known;
    const family = new Family({
      aggregator: 'sum',
      ...definition,
      name: this.#prefix + definition.name,
      maxSeries: this.#maxSeries,
      collect: this.#collect,
    });
    this.#register(family);
    this.#families.set(definition.name, family);
    return family;
  }

  #register(metric: RegistryMetric): void {
    if (this.registry.getSingleMetric(metric.name) !== undefined) {
      throw new MetricsError(
        'ERR_METRIC_EXISTS',
        `the registry already has a metric "${metric.name}"; give another registry or a prefix, or close the Metrics that made it`,
      );
    }
    // Registry calls what RegistryMetric has; its type asks for the whole of one of prom-client's own classes.
    this.registry.registerMetric(metric as unknown as Metric);
    this.#registered.push(metric);
  }

  #checkOpen(): void {
    if (this.#closed) throw new MetricsError('ERR_METRICS_CLOSED', 'this Metrics is closed');
  }
}

interface Observed {
  readonly kind: ObservableKind;
  readonly name: string;
  errors: number;
  read(owner: Observed): void;
}

const defaultBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Names come from code, but one that holds a URL or a key should at least not fill the page. */
const MAX_NAME = 128;
