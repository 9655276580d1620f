import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Metrics } from '@x/metrics';
import { Counter, type OpenMetricsContentType, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { parseExposition } from './exposition.ts';

async function serve(metrics: Metrics) {
  const server = createServer(metrics.handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test('GET answers with the metrics, among them the default ones, and they parse', async () => {
  const metrics = new Metrics();
  await using server = await serve(metrics);
  const response = await fetch(server.url);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const parsed = parseExposition(await response.text());
  expect(parsed.has('tool_execution_duration_seconds')).toBe(true);
  expect(parsed.has('process_cpu_seconds_total')).toBe(true);
});

test('the page is whole where names are not ASCII, and is not stored', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  metrics.observe('queue', 'Müllabfuhr 🚮', { stats: () => ({ size: 1 }) as never });
  await using server = await serve(metrics);
  const response = await fetch(server.url);
  expect(response.headers.get('cache-control')).toBe('no-store');
  expect(await response.text()).toBe(await metrics.registry.metrics());
});

test('HEAD answers without a body', async () => {
  await using server = await serve(new Metrics({ defaultMetrics: false }));
  const response = await fetch(server.url, { method: 'HEAD' });
  expect(response.status).toBe(200);
  expect(Number(response.headers.get('content-length'))).toBeGreaterThan(100);
  expect(await response.text()).toBe('');
});

test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is refused', async (method) => {
  await using server = await serve(new Metrics({ defaultMetrics: false }));
  const response = await fetch(server.url, { method });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toBe('GET, HEAD');
});

test('a collector that fails gives 500 without its message, which onError is told', async () => {
  const registry = new Registry();
  new Counter({
    name: 'bad_total',
    help: 'bad',
    registers: [registry],
    collect() {
      throw new Error('password=hunter2');
    },
  });
  const told: unknown[] = [];
  const metrics = new Metrics({ registry, onError: (error) => told.push(error) });
  await using server = await serve(metrics);
  const response = await fetch(server.url);
  expect(response.status).toBe(500);
  expect(await response.text()).toBe('Metrics could not be collected\n');
  expect(told).toEqual([new Error('password=hunter2')]);
});

test('the content type is that of the registry', async () => {
  const metrics = new Metrics({ registry: openMetricsRegistry() });
  await using server = await serve(metrics);
  expect((await fetch(server.url)).headers.get('content-type')).toBe(
    'application/openmetrics-text; version=1.0.0; charset=utf-8',
  );
});

function openMetricsRegistry(): Registry<OpenMetricsContentType> {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}
