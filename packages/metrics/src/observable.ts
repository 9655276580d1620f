/**
 * The shapes that are read: what `stats()` of each thing must give. Counters only grow, gauges are now. They are
 * structural on purpose, so that a class of another library, or a plain object, can be observed as well.
 */

/** A counter for each reason, code or class. Keys come from a small fixed set; see `maxSeries` for when they do not. */
export type CountBy = { readonly [key: string]: number | undefined };

export interface CacheStats {
  readonly entries: number;
  readonly bytes: number;
  readonly hitsMemory: number;
  readonly hitsRemote: number;
  readonly misses: number;
  readonly staleServed: number;
  readonly loads: number;
  readonly loadFailures: number;
  readonly sharedWaits: number;
  readonly evictions: number;
  readonly expirations: number;
  readonly invalidations: number;
}

export interface BreakerStats {
  readonly state: string;
  readonly successes: number;
  readonly failures: number;
  readonly ignored: number;
  readonly rejected: number;
  readonly late: number;
  readonly transitions: number;
  readonly retryAfterMs: number;
}

export interface LimiterStats {
  readonly limit: number;
  readonly inFlight: number;
  readonly queued: number;
  readonly admitted: number;
  readonly completed: number;
  readonly abandoned: number;
  readonly rejected: CountBy;
  readonly queueWaitMs: number;
  readonly runMs: number;
}

export interface QueueStats {
  readonly size: number;
  readonly maxSize: number;
  readonly enqueued: number;
  readonly dequeued: number;
  readonly rejected: number;
  readonly healthy: boolean;
}

export interface RateLimiterStats {
  readonly keys: number;
  readonly allowed: number;
  readonly denied: number;
}

export interface LoaderStats {
  readonly loads: number;
  readonly hits: number;
  readonly batches: number;
  readonly keysLoaded: number;
  readonly batchFailures: number;
  readonly queuedKeys: number;
}

export interface BatcherStats {
  readonly submitted: number;
  readonly written: number;
  readonly failed: number;
  readonly batches: number;
  readonly queued: number;
}

export interface PostgresPoolStats {
  readonly size: number;
  readonly idle: number;
  readonly inUse: number;
  readonly waiting: number;
  readonly max: number;
  readonly created: number;
  readonly destroyed: CountBy;
  readonly acquired: number;
  readonly acquireTimeouts: number;
  readonly acquireWaitMs: number;
  readonly queries: number;
  readonly queryFailures: number;
}

export interface HttpPoolStats {
  readonly connections: number;
  readonly idle: number;
  readonly inFlight: number;
  readonly queued: number;
  readonly requests: number;
  readonly responses: CountBy;
  readonly failures: CountBy;
  readonly retries: number;
}

export interface WorkerPoolStats {
  readonly threads: number;
  readonly idle: number;
  readonly running: number;
  readonly queued: number;
  readonly completed: number;
  readonly failed: number;
  readonly timedOut: number;
  readonly replaced: number;
}

/** What can be observed, by the kind that `observe` is told. */
export interface StatsByKind {
  cache: CacheStats;
  breaker: BreakerStats;
  limiter: LimiterStats;
  queue: QueueStats;
  'rate-limiter': RateLimiterStats;
  loader: LoaderStats;
  batcher: BatcherStats;
  pool: PostgresPoolStats;
  http: HttpPoolStats;
  workers: WorkerPoolStats;
}

export type ObservableKind = keyof StatsByKind;

export interface Observable<K extends ObservableKind> {
  stats(): StatsByKind[K];
}

export interface ObserveOptions {
  /**
   * For a limiter or a queue that stands in front of the whole server: it is what `concurrent_requests` and
   * `queue_depth` show. Several add up. Default false.
   */
  admission?: boolean | undefined;
  /**
   * For a cache: whether it has a second tier in Redis, so that its lookups there are shown as `cache_type="redis"`.
   * Default: shown once that tier has answered for the first time.
   */
  remote?: boolean | undefined;
}
