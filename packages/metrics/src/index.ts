export type { Clock } from './clock.ts';
export { MetricsError } from './errors.ts';
export { Metrics, type MetricsOptions } from './metrics.ts';
export type {
  BatcherStats,
  BreakerStats,
  CacheStats,
  HttpPoolStats,
  LimiterStats,
  LoaderStats,
  Observable,
  ObservableKind,
  ObserveOptions,
  PostgresPoolStats,
  QueueStats,
  RateLimiterStats,
  StatsByKind,
  WorkerPoolStats,
} from './observable.ts';
export type { MetricsRegistry } from './registered-metrics.ts';
