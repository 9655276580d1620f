import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { Family } from './family.ts';

/**
 * How busy the event loop is, which prom-client's default metrics leave out (they have its lag). The two counters give
 * it over any time, for any number of scrapers: active / (active + idle). The gauge is since the last scrape.
 */
export class EventLoopMetrics {
  readonly families: readonly Family[];
  readonly #utilization: Family;
  readonly #active: Family;
  readonly #idle: Family;
  #last: EventLoopUtilization = performance.eventLoopUtilization();

  constructor(prefix: string, collect: () => void) {
    const common = { labels: [], maxSeries: 1, collect };
    this.#utilization = new Family({
      ...common,
      name: `${prefix}event_loop_utilization`,
      help: 'Share of the time since the last scrape in which the event loop was busy, 0 to 1.',
      type: 'gauge',
      aggregator: 'average',
    });
    this.#active = new Family({
      ...common,
      name: `${prefix}event_loop_active_seconds_total`,
      help: 'Time in which the event loop was busy.',
      type: 'counter',
      aggregator: 'sum',
    });
    this.#idle = new Family({
      ...common,
      name: `${prefix}event_loop_idle_seconds_total`,
      help: 'Time in which the event loop waited.',
      type: 'counter',
      aggregator: 'sum',
    });
    this.families = [this.#utilization, this.#active, this.#idle];
  }

  collect(): void {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#last);
    this.#last = now;
    this.#utilization.add(this, undefined, { labels: [], value: utilization });
    this.#active.add(this, undefined, { labels: [], value: now.active / 1000 });
    this.#idle.add(this, undefined, { labels: [], value: now.idle / 1000 });
  }
}
