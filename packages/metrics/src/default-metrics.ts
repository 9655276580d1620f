import { collectDefaultMetrics, type Registry } from 'prom-client';
import { MetricsError } from './errors.ts';
import type { MetricsRegistry } from './registered-metrics.ts';

/** Registers prom-client's default metrics: all, or none where the registry has one of them already. */
export function defaultMetrics(registry: MetricsRegistry): void {
  const before = new Set(registry.getMetricsAsArray().map(({ name }) => name));
  try {
    collectDefaultMetrics({ register: registry as Registry });
  } catch (cause) {
    for (const { name } of registry.getMetricsAsArray()) if (!before.has(name)) registry.removeSingleMetric(name);
    throw new MetricsError(
      'ERR_METRIC_EXISTS',
      'the registry already has default metrics of prom-client; set defaultMetrics to false, or give another registry',
      { cause },
    );
  }
}
