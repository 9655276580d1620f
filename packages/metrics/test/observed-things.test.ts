import { Metrics, type ObservableKind } from '@x/metrics';
import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { parseExposition, samplesOf } from './exposition.ts';
import { exampleStats } from './stats.ts';

const scrape = async (metrics: Metrics) => samplesOf(await metrics.registry.metrics());
const bare = () => new Metrics({ defaultMetrics: false });

/** What each kind shows for exampleStats, without what is shown always. */
const expected: Record<ObservableKind, Record<string, number>> = {
  cache: {
    'cache_requests_total{cache="x",cache_type="memory",result="hit"}': 30,
    'cache_requests_total{cache="x",cache_type="memory",result="miss"}': 10,
    'cache_requests_total{cache="x",cache_type="redis",result="hit"}': 4,
    'cache_requests_total{cache="x",cache_type="redis",result="miss"}': 6,
    'cache_hit_ratio{cache_type="memory"}': 0.75,
    'cache_hit_ratio{cache_type="redis"}': 0.4,
    'cache_entries{cache="x"}': 1,
    'cache_bytes{cache="x"}': 2,
    'cache_stale_served_total{cache="x"}': 7,
    'cache_loads_total{cache="x"}': 8,
    'cache_load_failures_total{cache="x"}': 9,
    'cache_shared_waits_total{cache="x"}': 10,
    'cache_evictions_total{cache="x"}': 11,
    'cache_expirations_total{cache="x"}': 12,
    'cache_invalidations_total{cache="x"}': 13,
  },
  breaker: {
    'breaker_state{breaker="x",state="closed"}': 0,
    'breaker_state{breaker="x",state="open"}': 1,
    'breaker_state{breaker="x",state="half-open"}': 0,
    'breaker_state{breaker="x",state="forced-open"}': 0,
    'breaker_state{breaker="x",state="forced-closed"}': 0,
    'breaker_calls_total{breaker="x",outcome="success"}': 1,
    'breaker_calls_total{breaker="x",outcome="failure"}': 2,
    'breaker_calls_total{breaker="x",outcome="ignored"}': 3,
    'breaker_calls_total{breaker="x",outcome="rejected"}': 4,
    'breaker_late_results_total{breaker="x"}': 5,
    'breaker_transitions_total{breaker="x"}': 6,
    'breaker_retry_after_seconds{breaker="x"}': 7.5,
  },
  limiter: {
    'limiter_limit{limiter="x"}': 1,
    'limiter_in_flight{limiter="x"}': 2,
    'limiter_queued{limiter="x"}': 3,
    'limiter_admitted_total{limiter="x"}': 4,
    'limiter_completed_total{limiter="x"}': 5,
    'limiter_abandoned_total{limiter="x"}': 6,
    'limiter_rejected_total{limiter="x",reason="queue_full"}': 7,
    'limiter_rejected_total{limiter="x",reason="timeout"}': 8,
    'limiter_queue_wait_seconds_total{limiter="x"}': 9,
    'limiter_run_seconds_total{limiter="x"}': 10.5,
  },
  queue: {
    'queue_size{queue="x"}': 1,
    'queue_max_size{queue="x"}': 2,
    'queue_enqueued_total{queue="x"}': 3,
    'queue_dequeued_total{queue="x"}': 4,
    'queue_rejected_total{queue="x"}': 5,
    'queue_healthy{queue="x"}': 1,
  },
  'rate-limiter': {
    'rate_limiter_keys{rate_limiter="x"}': 1,
    'rate_limiter_requests_total{rate_limiter="x",result="allowed"}': 2,
    'rate_limiter_requests_total{rate_limiter="x",result="denied"}': 3,
  },
  loader: {
    'loader_loads_total{loader="x"}': 1,
    'loader_hits_total{loader="x"}': 2,
    'loader_batches_total{loader="x"}': 3,
    'loader_keys_loaded_total{loader="x"}': 4,
    'loader_batch_failures_total{loader="x"}': 5,
    'loader_queued_keys{loader="x"}': 6,
  },
  batcher: {
    'batcher_submitted_total{batcher="x"}': 1,
    'batcher_written_total{batcher="x"}': 2,
    'batcher_failed_total{batcher="x"}': 3,
    'batcher_batches_total{batcher="x"}': 4,
    'batcher_queued{batcher="x"}': 5,
  },
  pool: {
    'db_connection_pool_size{}': 5,
    'db_pool_connections{pool="x",state="idle"}': 2,
    'db_pool_connections{pool="x",state="in_use"}': 3,
    'db_pool_max_connections{pool="x"}': 20,
    'db_pool_waiting{pool="x"}': 4,
    'db_pool_connections_created_total{pool="x"}': 6,
    'db_pool_connections_destroyed_total{pool="x",reason="idle"}': 7,
    'db_pool_connections_destroyed_total{pool="x",reason="max_uses"}': 8,
    'db_pool_acquired_total{pool="x"}': 9,
    'db_pool_acquire_timeouts_total{pool="x"}': 10,
    'db_pool_acquire_wait_seconds_total{pool="x"}': 11,
    'db_pool_queries_total{pool="x"}': 12,
    'db_pool_query_failures_total{pool="x"}': 13,
  },
  http: {
    'http_pool_connections{pool="x"}': 1,
    'http_pool_idle_connections{pool="x"}': 2,
    'http_pool_in_flight{pool="x"}': 3,
    'http_pool_queued{pool="x"}': 4,
    'http_pool_requests_total{pool="x"}': 5,
    'http_pool_responses_total{pool="x",status_class="2xx"}': 6,
    'http_pool_responses_total{pool="x",status_class="5xx"}': 7,
    'http_pool_failures_total{code="ECONNREFUSED",pool="x"}': 8,
    'http_pool_retries_total{pool="x"}': 9,
  },
  workers: {
    'worker_pool_threads{pool="x"}': 1,
    'worker_pool_idle_threads{pool="x"}': 2,
    'worker_pool_running_tasks{pool="x"}': 3,
    'worker_pool_queued_tasks{pool="x"}': 4,
    'worker_pool_tasks_completed_total{pool="x"}': 5,
    'worker_pool_tasks_failed_total{pool="x"}': 6,
    'worker_pool_tasks_timed_out_total{pool="x"}': 7,
    'worker_pool_threads_replaced_total{pool="x"}': 8,
  },
};

test.each(Object.keys(expected) as ObservableKind[])('every field of a %s is shown', async (kind) => {
  const metrics = bare();
  metrics.observe(kind, 'x', { stats: () => exampleStats[kind] } as never);
  const always = { 'concurrent_requests{}': 0, 'queue_depth{}': 0, 'db_connection_pool_size{}': 0 };
  expect(Object.fromEntries(await scrape(metrics))).toEqual({ ...always, ...expected[kind] });
});

test('every metric is one of prom-client', async () => {
  const metrics = bare();
  for (const kind of Object.keys(exampleStats) as ObservableKind[])
    metrics.observe(kind, 'x', { stats: () => exampleStats[kind] } as never);
  for (const metric of metrics.registry.getMetricsAsArray())
    expect(
      [Counter, Gauge, Histogram].some((kind) => (metric as object) instanceof kind),
      metric.name,
    ).toBe(true);
});

test('counters end in _total and nothing else does', async () => {
  const metrics = bare();
  for (const kind of Object.keys(exampleStats) as ObservableKind[])
    metrics.observe(kind, 'x', { stats: () => exampleStats[kind] } as never);
  for (const [name, { type, help }] of parseExposition(await metrics.registry.metrics())) {
    expect(name.endsWith('_total'), name).toBe(type === 'counter');
    expect(help, name).not.toBe('');
  }
});

test('the names of the seed are there before anything is observed', async () => {
  const text = await bare().registry.metrics();
  for (const name of ['concurrent_requests', 'queue_depth', 'cache_hit_ratio', 'db_connection_pool_size'])
    expect(text).toContain(`# TYPE ${name} gauge\n`);
  expect(text).toContain('# TYPE tool_execution_duration_seconds histogram\n');
});

test('concurrent_requests and queue_depth are those of admission, and several admission points add up', async () => {
  const metrics = bare();
  metrics.observe('limiter', 'query', { stats: () => ({ ...exampleStats.limiter, inFlight: 100, queued: 100 }) });
  metrics.observe('limiter', 'front', { stats: () => exampleStats.limiter }, { admission: true });
  metrics.observe('limiter', 'side', { stats: () => exampleStats.limiter }, { admission: true });
  metrics.observe('queue', 'work', { stats: () => ({ ...exampleStats.queue, size: 40 }) }, { admission: true });
  const samples = await scrape(metrics);
  expect(samples.get('concurrent_requests{}')).toBe(4);
  expect(samples.get('queue_depth{}')).toBe(46);
});

test('the hit ratio is that of all caches together, and absent before the first lookup', async () => {
  const metrics = bare();
  let hitsMemory = 0;
  const idle = { ...exampleStats.cache, hitsRemote: 0, misses: 0 };
  metrics.observe('cache', 'a', { stats: () => ({ ...idle, hitsMemory }) });
  metrics.observe('cache', 'b', { stats: () => ({ ...idle, hitsMemory: 0, misses: hitsMemory * 3 }) });
  expect([...(await scrape(metrics)).keys()].filter((key) => key.startsWith('cache_hit_ratio'))).toEqual([]);
  hitsMemory = 25;
  expect((await scrape(metrics)).get('cache_hit_ratio{cache_type="memory"}')).toBe(0.25);
  metrics.observe('cache', 'c', { stats: () => ({ ...idle, hitsMemory: 100 }) });
  expect((await scrape(metrics)).get('cache_hit_ratio{cache_type="memory"}')).toBe(0.625);
});

test('a cache without a second tier shows none, one that is said to have it shows it from the start', async () => {
  const metrics = bare();
  const stats = () => ({ ...exampleStats.cache, hitsRemote: 0 });
  metrics.observe('cache', 'local', { stats });
  metrics.observe('cache', 'both', { stats }, { remote: true });
  const samples = await scrape(metrics);
  expect(samples.has('cache_requests_total{cache="local",cache_type="redis",result="miss"}')).toBe(false);
  expect(samples.get('cache_requests_total{cache="both",cache_type="redis",result="miss"}')).toBe(6);
});

test('a thing is read once for a scrape, whatever the number of its metrics', async () => {
  const metrics = bare();
  let reads = 0;
  metrics.observe('workers', 'w', {
    stats: () => {
      reads++;
      return exampleStats.workers;
    },
  });
  await metrics.registry.metrics();
  expect(reads).toBe(1);
  await metrics.registry.getMetricsAsJSON();
  expect(reads).toBe(2);
  expect(await metrics.registry.getSingleMetricAsString('worker_pool_threads')).toContain(
    'worker_pool_threads{pool="w"} 1',
  );
  expect(reads).toBe(3);
});

test('stats() is called on its own object', async () => {
  class Thing {
    #allowed = 3;
    stats() {
      return { keys: 0, allowed: this.#allowed, denied: 0 };
    }
  }
  const metrics = bare();
  metrics.observe('rate-limiter', 'r', new Thing());
  expect((await scrape(metrics)).get('rate_limiter_requests_total{rate_limiter="r",result="allowed"}')).toBe(3);
});

test('a second thing under a name is refused until the first is unobserved, whose series then go away', async () => {
  const metrics = bare();
  const stop = metrics.observe('queue', 'q', { stats: () => exampleStats.queue });
  expect(() => metrics.observe('queue', 'q', { stats: () => exampleStats.queue })).toThrow(
    expect.objectContaining({
      code: 'ERR_ALREADY_OBSERVED',
      message:
        '@x/metrics: queue "q" is already observed; call the function that observe returned first, or choose another name',
    }),
  );
  metrics.observe('loader', 'q', { stats: () => exampleStats.loader });
  await scrape(metrics);
  stop();
  expect([...(await scrape(metrics)).keys()].filter((key) => key.startsWith('queue_size'))).toEqual([]);
  metrics.observe('queue', 'q', { stats: () => ({ ...exampleStats.queue, enqueued: 1 }) });
  stop();
  const samples = await scrape(metrics);
  expect(samples.get('queue_enqueued_total{queue="q"}')).toBe(1);
  expect(samples.get('loader_loads_total{loader="q"}')).toBe(1);
});

test('a stats() that throws is counted and told, loses its gauges for that scrape, and hurts nobody else', async () => {
  const told: unknown[] = [];
  const metrics = new Metrics({ defaultMetrics: false, onError: (error) => told.push(error) });
  const sick = new Error('sick');
  let broken = false;
  const stop = metrics.observe('limiter', 'sick', {
    stats: () => {
      if (broken) throw sick;
      return exampleStats.limiter;
    },
  });
  metrics.observe('limiter', 'well', { stats: () => exampleStats.limiter });
  await scrape(metrics);
  broken = true;
  const samples = await scrape(metrics);
  expect(told).toEqual([sick]);
  expect(samples.get('metrics_collect_errors_total{kind="limiter",name="sick"}')).toBe(1);
  expect(samples.has('limiter_in_flight{limiter="sick"}')).toBe(false);
  expect(samples.get('limiter_admitted_total{limiter="sick"}')).toBe(4);
  expect(samples.get('limiter_in_flight{limiter="well"}')).toBe(2);
  broken = false;
  expect((await scrape(metrics)).get('limiter_in_flight{limiter="sick"}')).toBe(2);
  stop();
  expect([...(await scrape(metrics)).keys()].filter((key) => key.includes('sick'))).toEqual([]);
});

test('an onError that throws does not break the scrape', async () => {
  const metrics = new Metrics({
    defaultMetrics: false,
    onError: () => {
      throw new Error('listener');
    },
  });
  metrics.observe('queue', 'q', {
    stats: () => {
      throw new Error('sick');
    },
  });
  expect((await scrape(metrics)).get('metrics_collect_errors_total{kind="queue",name="q"}')).toBe(1);
});

test('numbers that are none are left out, and an unbounded limit is +Inf', async () => {
  const metrics = bare();
  metrics.observe(
    'limiter',
    'l',
    {
      stats: () => ({
        ...exampleStats.limiter,
        limit: Infinity,
        admitted: Number.NaN,
        completed: -1,
        abandoned: Infinity,
        queued: undefined as never,
      }),
    },
    { admission: true },
  );
  const samples = await scrape(metrics);
  expect(samples.get('limiter_limit{limiter="l"}')).toBe(Infinity);
  for (const name of ['limiter_admitted_total', 'limiter_completed_total', 'limiter_abandoned_total', 'limiter_queued'])
    expect(samples.has(`${name}{limiter="l"}`), name).toBe(false);
  expect(samples.get('queue_depth{}')).toBe(0);
  // Left out, not failed over: what comes after them is shown.
  expect(samples.get('limiter_run_seconds_total{limiter="l"}')).toBe(10.5);
});

test('a prefix stands before every name, and two prefixes share a registry', async () => {
  const registry = new Registry();
  const one = new Metrics({ registry, prefix: 'one_' });
  const two = new Metrics({ registry, prefix: 'two_' });
  one.observe('pool', 'p', { stats: () => exampleStats.pool });
  two.observe('pool', 'p', { stats: () => exampleStats.pool });
  const names = [...parseExposition(await registry.metrics()).keys()];
  expect(names.filter((name) => !/^(one|two)_/.test(name))).toEqual([]);
  expect(names).toContain('one_tool_execution_duration_seconds');
  expect((await samplesOf(await registry.metrics())).get('two_db_connection_pool_size{}')).toBe(5);
});

test('close takes its metrics out of the registry and leaves those of others', async () => {
  const registry = new Registry();
  const first = new Metrics({ registry });
  first.observe('pool', 'p', { stats: () => exampleStats.pool });
  expect(() => new Metrics({ registry })).toThrow(expect.objectContaining({ code: 'ERR_METRIC_EXISTS' }));
  await first.close();
  await first.close();
  expect(await registry.metrics()).toBe('\n');
  expect(() => first.observe('pool', 'p', { stats: () => exampleStats.pool })).toThrow(
    expect.objectContaining({ code: 'ERR_METRICS_CLOSED' }),
  );
  await using second = new Metrics({ registry });
  expect(await second.registry.metrics()).toContain('db_connection_pool_size 0');
});

test('close leaves a metric that somebody else has put in the place of one of its own', async () => {
  const registry = new Registry();
  const metrics = new Metrics({ registry });
  registry.removeSingleMetric('queue_depth');
  new Gauge({ name: 'queue_depth', help: 'mine', registers: [registry] });
  await metrics.close();
  expect(await registry.metrics()).toBe('# HELP queue_depth mine\n# TYPE queue_depth gauge\nqueue_depth 0\n');
});

test('a name that the registry has already is refused, and nothing is left behind', async () => {
  const registry = new Registry();
  new Gauge({ name: 'queue_depth', help: 'mine', registers: [registry] });
  expect(() => new Metrics({ registry })).toThrow(
    expect.objectContaining({
      code: 'ERR_METRIC_EXISTS',
      message:
        '@x/metrics: the registry already has a metric "queue_depth"; give another registry or a prefix, or close the Metrics that made it',
    }),
  );
  expect(await registry.metrics()).toBe('# HELP queue_depth mine\n# TYPE queue_depth gauge\nqueue_depth 0\n');
});

test('an OpenMetrics registry works as well, also to close', async () => {
  const registry = openMetricsRegistry();
  const metrics = new Metrics({ registry });
  metrics.observe('loader', 'l', { stats: () => exampleStats.loader });
  const text = await registry.metrics();
  expect(text).toContain('# TYPE loader_loads counter\nloader_loads_total{loader="l"} 1\n');
  expect(text.endsWith('# EOF\n')).toBe(true);
  await metrics.close();
  expect(await registry.metrics()).not.toContain('loader');
});

test('registry.resetMetrics sets counters back, and they go on from there', async () => {
  const metrics = bare();
  let loads = 5;
  metrics.observe('loader', 'l', { stats: () => ({ ...exampleStats.loader, loads }) });
  await scrape(metrics);
  metrics.registry.resetMetrics();
  loads = 7;
  expect((await scrape(metrics)).get('loader_loads_total{loader="l"}')).toBe(2);
});

test('default metrics come with our own registry, with event-loop utilisation, and not with a given one', async () => {
  const before = performance.now();
  const metrics = new Metrics();
  // Several: each counts only what has passed since the one before.
  for (let scrapes = 0; scrapes < 10; scrapes++) await scrape(metrics);
  const samples = await scrape(metrics);
  const seconds = (performance.now() - before) / 1_000;
  expect(samples.get('event_loop_active_seconds_total{}')).toBeLessThanOrEqual(seconds);
  expect(samples.get('event_loop_idle_seconds_total{}')).toBeLessThanOrEqual(seconds);
  expect(samples.get('event_loop_utilization{}')).toBeGreaterThanOrEqual(0);
  expect(samples.get('event_loop_utilization{}')).toBeLessThanOrEqual(1);
  expect(samples.get('event_loop_active_seconds_total{}')).toBeGreaterThan(0);
  expect(samples.has('process_resident_memory_bytes{}')).toBe(true);
  expect((await scrape(new Metrics({ registry: new Registry() }))).has('process_resident_memory_bytes{}')).toBe(false);
});

function openMetricsRegistry(): Registry<OpenMetricsContentType> {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}
