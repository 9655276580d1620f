import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Counter, Registry } from 'prom-client';
import { boundedName, OTHER } from './bounded-label.ts';
import { type Clock, systemClock } from './clock.ts';
import { defaultMetrics } from './default-metrics.ts';
import { MetricsError } from './errors.ts';
import { eventLoopMetrics } from './event-loop.ts';
import { families } from './families.ts';
import type { Observable, ObservableKind, ObserveOptions } from './observable.ts';
import { ObservedThing } from './observed-thing.ts';
import {
  checkBuckets,
  checkCount,
  checkFunction,
  checkKind,
  checkMethods,
  checkName,
  checkPrefix,
  checkRefusalCodes,
  checkThing,
} from './option-checks.ts';
import { type MetricsRegistry, RegisteredMetrics } from './registered-metrics.ts';
import { type Scraped, scrapeHandler } from './scrape-handler.ts';
import { SeriesLimit } from './series-limit.ts';
import { ToolMetrics } from './tool-metrics.ts';
import { wrapperRefusalCodes } from './tool-status.ts';
import { Totals } from './totals.ts';

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
   * Codes in `_meta['x/error']` of a result that make it a refusal (`status="refused"`), beside `ERR_CIRCUIT_OPEN`,
   * `ERR_OVERLOADED` and `ERR_TIMEOUT`, which the wrappers of @x/breaker and @x/backpressure send. Default none.
   */
  refusalCodes?: readonly string[] | undefined;
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

  readonly #metrics: RegisteredMetrics;
  readonly #limit: SeriesLimit;
  readonly #tools: ToolMetrics;
  readonly #totals: Totals;
  readonly #collectErrors: Counter;
  readonly #collectEventLoop: (() => void) | undefined;
  readonly #observed = new Map<string, () => void>();
  readonly #onError: (error: unknown) => void;
  #collected = false;
  #closed = false;

  constructor(options: MetricsOptions = {}) {
    const {
      registry,
      prefix = '',
      buckets = defaultBuckets,
      refusalCodes = [],
      maxSeries = 1_000,
      onError,
      clock = systemClock,
    } = options;
    checkPrefix(prefix);
    checkBuckets(buckets);
    checkRefusalCodes(refusalCodes);
    checkCount('maxSeries', maxSeries, 8);
    if (registry !== undefined) checkMethods('registry', registry, registryMethods);
    if (onError !== undefined) checkFunction('onError', onError);
    checkMethods('clock', clock, ['now']);
    this.registry = registry ?? new Registry();
    this.#onError = (error) => {
      try {
        onError?.(error);
      } catch {
        // Whoever listens must not break the scrape.
      }
    };
    this.handler = scrapeHandler(this.registry as Scraped, this.#onError);

    const metrics = new RegisteredMetrics({ registry: this.registry, prefix, collect: () => this.#collect() });
    try {
      this.#metrics = metrics;
      this.#limit = new SeriesLimit(maxSeries, metrics);
      this.#totals = new Totals(metrics);
      this.#collectErrors = metrics.counter(
        COLLECT_ERRORS,
        'Times that stats() of an observed thing threw while metrics were collected.',
        ['kind', 'name'],
      );
      this.#tools = new ToolMetrics({
        metrics,
        limit: this.#limit,
        buckets,
        refusalCodes: new Set([...wrapperRefusalCodes, ...refusalCodes]),
        clock,
      });
      if (options.defaultMetrics ?? registry === undefined) {
        defaultMetrics(this.registry);
        this.#collectEventLoop = eventLoopMetrics(metrics);
      }
    } catch (error) {
      // Half a Metrics left in the registry would fail its scrapes.
      metrics.removeAll();
      throw error;
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
    return this.#tools.instrument(boundedName(name), handler);
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
    const shownName = boundedName(name);
    const key = `${kind} ${shownName}`;
    if (this.#observed.has(key)) {
      throw new MetricsError(
        'ERR_ALREADY_OBSERVED',
        `${kind} "${shownName}" is already observed; call the function that observe returned first, or choose another name`,
      );
    }
    const shown = new ObservedThing({
      kind,
      name: shownName,
      thing,
      options,
      metrics: this.#metrics,
      limit: this.#limit,
    });
    let errorLabels: { kind: string; name: string } | undefined;
    const collect = (): void => {
      try {
        this.#totals.add(kind, shown.collect(), options);
      } catch (error) {
        errorLabels ??= this.#limit.admit(COLLECT_ERRORS) ? { kind, name: shownName } : { kind: OTHER, name: OTHER };
        this.#collectErrors.inc(errorLabels);
        this.#onError(error);
      }
    };
    this.#observed.set(key, collect);
    return () => {
      if (this.#observed.get(key) !== collect) return;
      this.#observed.delete(key);
      shown.remove();
      if (errorLabels?.kind !== kind) return;
      this.#collectErrors.remove(errorLabels);
      this.#limit.release(COLLECT_ERRORS);
    };
  }

  /** Takes its metrics out of the registry; what prom-client collects by default stays. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#observed.clear();
    this.#metrics.removeAll();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Registries ask metric after metric, in one turn. The first one asked reads everything for all, so that a thing is
   * read once for a scrape and its numbers belong together.
   */
  #collect(): void {
    if (this.#collected) return;
    this.#collected = true;
    queueMicrotask(() => {
      this.#collected = false;
    });
    this.#metrics.resetGauges();
    this.#totals.begin();
    this.#tools.collect();
    this.#collectEventLoop?.();
    for (const collect of this.#observed.values()) collect();
  }

  #checkOpen(): void {
    if (this.#closed) throw new MetricsError('ERR_METRICS_CLOSED', 'this Metrics is closed');
  }
}

const defaultBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const COLLECT_ERRORS = 'metrics_collect_errors_total';

const registryMethods = ['getSingleMetric', 'removeSingleMetric', 'registerMetric', 'getMetricsAsArray', 'metrics'];
