import type { Gauge } from 'prom-client';
import { lookups } from './families.ts';
import type { CacheStats, ObservableKind, ObserveOptions, StatsByKind } from './observable.ts';
import type { RegisteredMetrics } from './registered-metrics.ts';

/** What several things add up to. Shown from the start, whatever is observed: dashboards and alerts count on these names. */
export class Totals {
  readonly #concurrentRequests: Gauge;
  readonly #queueDepth: Gauge;
  readonly #hitRatio: Gauge;
  readonly #connections: Gauge;
  readonly #lookups = new Map<string, { hit: number; all: number }>();

  readonly #adders: { readonly [K in ObservableKind]?: (stats: StatsByKind[K], options: ObserveOptions) => void } = {
    limiter: (stats, { admission }) => {
      if (!admission) return;
      increase(this.#concurrentRequests, stats.inFlight);
      increase(this.#queueDepth, stats.queued);
    },
    queue: (stats, { admission }) => {
      if (admission) increase(this.#queueDepth, stats.size);
    },
    pool: (stats) => increase(this.#connections, stats.size),
    cache: (stats, options) => this.#addLookups(stats, options),
  };

  constructor(metrics: RegisteredMetrics) {
    this.#concurrentRequests = metrics.gauge('concurrent_requests', 'Requests in flight behind the admission limiter.');
    this.#queueDepth = metrics.gauge('queue_depth', 'Requests waiting in front of the admission limiter.');
    this.#hitRatio = metrics.gauge(
      'cache_hit_ratio',
      'Share of lookups that were hits, of all caches, since the start. Aggregate cache_requests_total instead.',
      ['cache_type'],
      'average',
    );
    this.#connections = metrics.gauge('db_connection_pool_size', 'Open database connections, idle and in use.');
  }

  /** For a new scrape, when the gauges have been reset. */
  begin(): void {
    this.#lookups.clear();
  }

  add<K extends ObservableKind>(kind: K, stats: StatsByKind[K], options: ObserveOptions): void {
    const add: ((stats: StatsByKind[K], options: ObserveOptions) => void) | undefined = this.#adders[kind];
    add?.(stats, options);
  }

  #addLookups(stats: CacheStats, options: ObserveOptions): void {
    for (const [tier, { hit, miss }] of Object.entries(lookups(stats, options))) {
      // A cache that does not say must not hide the others.
      if (!Number.isFinite(hit + miss)) continue;
      const before = this.#lookups.get(tier);
      const now = { hit: (before?.hit ?? 0) + hit, all: (before?.all ?? 0) + hit + miss };
      this.#lookups.set(tier, now);
      // Nothing says nothing: no ratio before the first lookup.
      if (now.all > 0) this.#hitRatio.set({ cache_type: tier }, now.hit / now.all);
    }
  }
}

/** A gauge takes `undefined` for 1. */
function increase(gauge: Gauge, value: number): void {
  if (Number.isFinite(value)) gauge.inc(value);
}
