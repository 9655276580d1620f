import { boundedKeys } from './bounded-label.ts';
import type { CacheStats, ObservableKind, ObserveOptions, StatsByKind } from './observable.ts';

/** A number, or one for each value of a label, which may be split again by the next label. */
export type Reading = number | { readonly [labelValue: string]: Reading };

/** A metric that is read from a `stats()`, in Prometheus' base units. */
export interface Family<S> {
  readonly type: 'counter' | 'gauge';
  readonly name: string;
  readonly help: string;
  /** The labels after the name of the thing: one for each level of the reading. */
  readonly labels: readonly string[];
  read(stats: S, options: ObserveOptions): Reading;
}

/** The label that carries the name given to `observe`. */
export const nameLabels: { readonly [K in ObservableKind]: string } = {
  cache: 'cache',
  breaker: 'breaker',
  limiter: 'limiter',
  queue: 'queue',
  'rate-limiter': 'rate_limiter',
  loader: 'loader',
  batcher: 'batcher',
  pool: 'pool',
  http: 'pool',
  workers: 'pool',
};

const breakerStates = ['closed', 'open', 'half-open', 'forced-open', 'forced-closed'];

/** Every metric that is read from a `stats()`, by kind. Names follow prometheus.io/docs/practices/naming. */
export const families: { readonly [K in ObservableKind]: readonly Family<StatsByKind[K]>[] } = {
  cache: [
    counter(
      'cache_requests_total',
      'Lookups by tier (memory, redis) and result (hit, miss).',
      lookups,
      'cache_type',
      'result',
    ),
    gauge('cache_entries', 'Entries kept in memory.', (s) => s.entries),
    gauge('cache_bytes', 'Estimated size of the entries kept in memory.', (s) => s.bytes),
    counter('cache_stale_served_total', 'Answers given from entries past their time to live.', (s) => s.staleServed),
    counter('cache_loads_total', 'Loads started.', (s) => s.loads),
    counter('cache_load_failures_total', 'Loads that failed.', (s) => s.loadFailures),
    counter(
      'cache_shared_waits_total',
      'Callers that waited for a load someone else had started.',
      (s) => s.sharedWaits,
    ),
    counter('cache_evictions_total', 'Entries pushed out by a bound.', (s) => s.evictions),
    counter('cache_expirations_total', 'Entries removed because their time was over.', (s) => s.expirations),
    counter('cache_invalidations_total', 'Entries deleted or expired on request.', (s) => s.invalidations),
  ],
  breaker: [
    gauge(
      'breaker_state',
      '1 for the state the breaker is in, 0 for the others.',
      (s) => Object.fromEntries(breakerStates.map((state) => [state, s.state === state ? 1 : 0])),
      'state',
    ),
    counter(
      'breaker_calls_total',
      'Calls by outcome; rejected ones were refused and did not run.',
      (s) => ({ success: s.successes, failure: s.failures, ignored: s.ignored, rejected: s.rejected }),
      'outcome',
    ),
    counter(
      'breaker_late_results_total',
      'Results that came after the state had changed, and count for nothing.',
      (s) => s.late,
    ),
    counter('breaker_transitions_total', 'Changes of state.', (s) => s.transitions),
    gauge(
      'breaker_retry_after_seconds',
      'Time until the next call may be let through; 0 while calls pass.',
      (s) => s.retryAfterMs / 1000,
    ),
  ],
  limiter: [
    gauge('limiter_limit', 'How much may be in flight at once.', (s) => s.limit),
    gauge('limiter_in_flight', 'Work in flight.', (s) => s.inFlight),
    gauge('limiter_queued', 'Work waiting for a permit.', (s) => s.queued),
    counter('limiter_admitted_total', 'Work let through.', (s) => s.admitted),
    counter('limiter_completed_total', 'Work that has ended.', (s) => s.completed),
    counter('limiter_abandoned_total', 'Work whose caller left before it ended.', (s) => s.abandoned),
    counter('limiter_rejected_total', 'Work refused, by reason.', (s) => boundedKeys(s.rejected), 'reason'),
    counter(
      'limiter_queue_wait_seconds_total',
      'Time spent waiting by work that was let through.',
      (s) => s.queueWaitMs / 1000,
    ),
    counter('limiter_run_seconds_total', 'Time spent running.', (s) => s.runMs / 1000),
  ],
  queue: [
    gauge('queue_size', 'Items in the queue.', (s) => s.size),
    gauge('queue_max_size', 'Items there is room for.', (s) => s.maxSize),
    gauge('queue_healthy', '1 while the queue has room to spare, else 0.', (s) => (s.healthy ? 1 : 0)),
    counter('queue_enqueued_total', 'Items taken in.', (s) => s.enqueued),
    counter('queue_dequeued_total', 'Items handed out.', (s) => s.dequeued),
    counter('queue_rejected_total', 'Items for which there was no room in time.', (s) => s.rejected),
  ],
  'rate-limiter': [
    gauge('rate_limiter_keys', 'Callers kept track of.', (s) => s.keys),
    counter(
      'rate_limiter_requests_total',
      'Requests by result (allowed, denied).',
      (s) => ({ allowed: s.allowed, denied: s.denied }),
      'result',
    ),
  ],
  loader: [
    counter('loader_loads_total', 'Keys asked for.', (s) => s.loads),
    counter('loader_hits_total', 'Keys answered by the cache of the loader.', (s) => s.hits),
    counter('loader_batches_total', 'Calls of the batch function.', (s) => s.batches),
    counter('loader_keys_loaded_total', 'Keys given to the batch function.', (s) => s.keysLoaded),
    counter('loader_batch_failures_total', 'Calls of the batch function that failed.', (s) => s.batchFailures),
    gauge('loader_queued_keys', 'Keys waiting for the next batch.', (s) => s.queuedKeys),
  ],
  batcher: [
    counter('batcher_submitted_total', 'Items submitted.', (s) => s.submitted),
    counter('batcher_written_total', 'Items written.', (s) => s.written),
    counter('batcher_failed_total', 'Items that could not be written.', (s) => s.failed),
    counter('batcher_batches_total', 'Calls of the batch function.', (s) => s.batches),
    gauge('batcher_queued', 'Items waiting for the next batch.', (s) => s.queued),
  ],
  pool: [
    gauge(
      'db_pool_connections',
      'Open connections by state (idle, in_use).',
      (s) => ({ idle: s.idle, in_use: s.inUse }),
      'state',
    ),
    gauge('db_pool_max_connections', 'Connections there may be.', (s) => s.max),
    gauge('db_pool_waiting', 'Callers waiting for a connection.', (s) => s.waiting),
    counter('db_pool_connections_created_total', 'Connections opened.', (s) => s.created),
    counter(
      'db_pool_connections_destroyed_total',
      'Connections closed, by reason.',
      (s) => boundedKeys(s.destroyed),
      'reason',
    ),
    counter('db_pool_acquired_total', 'Connections handed to callers.', (s) => s.acquired),
    counter('db_pool_acquire_timeouts_total', 'Callers who got no connection in time.', (s) => s.acquireTimeouts),
    counter('db_pool_acquire_wait_seconds_total', 'Time spent waiting for connections.', (s) => s.acquireWaitMs / 1000),
    counter('db_pool_queries_total', 'Queries sent.', (s) => s.queries),
    counter('db_pool_query_failures_total', 'Queries that failed.', (s) => s.queryFailures),
  ],
  http: [
    gauge('http_pool_connections', 'Open connections.', (s) => s.connections),
    gauge('http_pool_idle_connections', 'Open connections that carry no request.', (s) => s.idle),
    gauge('http_pool_in_flight', 'Requests in flight.', (s) => s.inFlight),
    gauge('http_pool_queued', 'Requests waiting for a connection.', (s) => s.queued),
    counter('http_pool_requests_total', 'Requests made.', (s) => s.requests),
    counter(
      'http_pool_responses_total',
      'Responses by class of status.',
      (s) => boundedKeys(s.responses),
      'status_class',
    ),
    counter(
      'http_pool_failures_total',
      'Requests that got no response, by error code.',
      (s) => boundedKeys(s.failures),
      'code',
    ),
    counter('http_pool_retries_total', 'Requests made again.', (s) => s.retries),
  ],
  workers: [
    gauge('worker_pool_threads', 'Threads.', (s) => s.threads),
    gauge('worker_pool_idle_threads', 'Threads without a task.', (s) => s.idle),
    gauge('worker_pool_running_tasks', 'Tasks running.', (s) => s.running),
    gauge('worker_pool_queued_tasks', 'Tasks waiting for a thread.', (s) => s.queued),
    counter('worker_pool_tasks_completed_total', 'Tasks that gave a result.', (s) => s.completed),
    counter('worker_pool_tasks_failed_total', 'Tasks that threw.', (s) => s.failed),
    counter('worker_pool_tasks_timed_out_total', 'Tasks stopped because their time was over.', (s) => s.timedOut),
    counter('worker_pool_threads_replaced_total', 'Threads replaced.', (s) => s.replaced),
  ],
};

/**
 * Hits and misses by tier. A lookup that memory could not answer goes on to Redis, if there is one, and is a miss of
 * memory either way.
 */
export function lookups(
  { hitsMemory, hitsRemote, misses }: CacheStats,
  options: ObserveOptions,
): Record<string, { hit: number; miss: number }> {
  const memory = { hit: hitsMemory, miss: hitsRemote + misses };
  return (options.remote ?? hitsRemote > 0) ? { memory, redis: { hit: hitsRemote, miss: misses } } : { memory };
}

function gauge<S>(name: string, help: string, read: Family<S>['read'], ...labels: readonly string[]): Family<S> {
  return { type: 'gauge', name, help, labels, read };
}

function counter<S>(name: string, help: string, read: Family<S>['read'], ...labels: readonly string[]): Family<S> {
  return { type: 'counter', name, help, labels, read };
}
