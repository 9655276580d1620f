import { performance } from 'node:perf_hooks';
import type { RegisteredMetrics } from './registered-metrics.ts';

/**
 * Shows how busy the event loop is, which prom-client's default metrics leave out (they have its lag). The two counters
 * give it over any time, for any number of scrapers: active / (active + idle). The gauge is since the last scrape.
 * Returns what sets them.
 */
export function eventLoopMetrics(metrics: RegisteredMetrics): () => void {
  const utilization = metrics.gauge(
    'event_loop_utilization',
    'Share of the time since the last scrape in which the event loop was busy, 0 to 1.',
    [],
    'average',
  );
  const active = metrics.counter('event_loop_active_seconds_total', 'Time in which the event loop was busy.');
  const idle = metrics.counter('event_loop_idle_seconds_total', 'Time in which the event loop waited.');
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const since = performance.eventLoopUtilization(now, last);
    // Node takes the two times from different clocks, and divides 0 by 0 where none has passed.
    if (!(since.active >= 0 && since.idle >= 0 && since.active + since.idle > 0)) return;
    last = now;
    utilization.set(since.utilization);
    active.inc(since.active / 1_000);
    idle.inc(since.idle / 1_000);
  };
}
