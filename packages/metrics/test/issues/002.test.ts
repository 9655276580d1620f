import { Metrics } from '@x/metrics';
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { expect, test } from 'vitest';

// Default metrics that the registry had already threw prom-client's own error, and could leave some of them behind.

test('default metrics that the registry has already are ERR_METRIC_EXISTS, with the cause', () => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  expect(() => new Metrics({ registry, defaultMetrics: true })).toThrow(
    expect.objectContaining({
      code: 'ERR_METRIC_EXISTS',
      message:
        '@x/metrics: the registry already has default metrics of prom-client; set defaultMetrics to false, or give another registry',
      cause: expect.any(Error),
    }),
  );
});

test('one of them in the registry, and nothing of ours or of the others is left behind', () => {
  const registry = new Registry();
  new Gauge({ name: 'nodejs_version_info', help: 'mine', registers: [registry] });
  expect(() => new Metrics({ registry, defaultMetrics: true })).toThrow(
    expect.objectContaining({ code: 'ERR_METRIC_EXISTS' }),
  );
  expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(['nodejs_version_info']);
});
