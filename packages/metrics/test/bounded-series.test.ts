import { Metrics } from '@x/metrics';
import { expect, test } from 'vitest';
import { samplesOf } from './exposition.ts';
import { exampleStats } from './stats.ts';

const scrape = async (metrics: Metrics) => samplesOf(await metrics.registry.metrics());

test('reasons beyond maxSeries add up under __other__ and are counted as dropped', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
  let extra = 12;
  metrics.observe('limiter', 'l', {
    stats: () => ({
      ...exampleStats.limiter,
      rejected: Object.fromEntries(Array.from({ length: extra }, (_, index) => [`reason_${index}`, 2])),
    }),
  });
  const first = await scrape(metrics);
  expect(first.get('limiter_rejected_total{limiter="l",reason="reason_7"}')).toBe(2);
  expect(first.get('limiter_rejected_total{limiter="__other__",reason="__other__"}')).toBe(8);
  expect(first.get('metrics_dropped_series_total{metric="limiter_rejected_total"}')).toBe(4);
  extra = 15;
  const second = await scrape(metrics);
  expect(second.get('limiter_rejected_total{limiter="__other__",reason="__other__"}')).toBe(14);
  expect(second.get('metrics_dropped_series_total{metric="limiter_rejected_total"}')).toBe(7);
});

test('gauges beyond maxSeries are left out, for a sum of gauges of different things says nothing', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
  for (let index = 0; index < 10; index++) metrics.observe('queue', `q${index}`, { stats: () => exampleStats.queue });
  const samples = await scrape(metrics);
  expect([...samples.keys()].filter((key) => key.startsWith('queue_size'))).toHaveLength(8);
  expect(samples.get('metrics_dropped_series_total{metric="queue_size"}')).toBe(2);
});

test('a label that is no word, which may be a message or a secret, is not shown', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  const secret = 'postgres://user:hunter2@host/db failed';
  metrics.observe('http', 'h', {
    stats: () => ({ ...exampleStats.http, failures: { [secret]: 3, ['x'.repeat(65)]: 4, ETIMEDOUT: 1 } }),
  });
  metrics.instrumentTool('t', () => ({ isError: true, _meta: { 'x/error': { code: secret } } }))();
  const text = await metrics.registry.metrics();
  expect(text).not.toContain('hunter2');
  const samples = samplesOf(text);
  expect(samples.get('http_pool_failures_total{code="__other__",pool="h"}')).toBe(7);
  expect(samples.get('http_pool_failures_total{code="ETIMEDOUT",pool="h"}')).toBe(1);
});

test('a very long name is cut', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  metrics.observe('queue', 'n'.repeat(500), { stats: () => exampleStats.queue });
  metrics.instrumentTool('t'.repeat(500), () => ({}))();
  const samples = await scrape(metrics);
  expect(samples.get(`queue_size{queue="${'n'.repeat(127)}…"}`)).toBe(1);
  expect(samples.get(`tool_executions_in_flight{tool_name="${'t'.repeat(127)}…"}`)).toBe(0);
});

test('tools beyond maxSeries share one label', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 16 });
  for (let index = 0; index < 6; index++) metrics.instrumentTool(`tool_${index}`, () => ({}))();
  const samples = await scrape(metrics);
  expect(samples.get('tool_execution_duration_seconds_count{status="success",tool_name="tool_2"}')).toBe(1);
  expect(samples.get('tool_execution_duration_seconds_count{status="success",tool_name="__other__"}')).toBe(3);
  expect(samples.get('metrics_dropped_series_total{metric="tool_execution_duration_seconds"}')).toBe(12);
  expect([...samples.keys()].filter((key) => key.startsWith('tool_execution_duration_seconds_count'))).toHaveLength(4);
});

test('calls in flight of tools beyond maxSeries add up', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
  let end = () => {};
  const handler = () =>
    new Promise<void>((resolve) => {
      end = resolve;
    });
  const calls = ['one', 'two', 'three'].map((name) => metrics.instrumentTool(name, handler)());
  expect((await scrape(metrics)).get('tool_executions_in_flight{tool_name="__other__"}')).toBe(2);
  end();
  await calls[2];
  expect((await scrape(metrics)).get('tool_executions_in_flight{tool_name="__other__"}')).toBe(1);
});

test('tools are fewer where there are many refusal codes', async () => {
  const refusalCodes = Array.from({ length: 5 }, (_, index) => `ERR_${index}`);
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 16, refusalCodes });
  for (let tool = 0; tool < 4; tool++)
    for (const code of [...refusalCodes, 'ERR_CIRCUIT_OPEN', 'ERR_OVERLOADED', 'ERR_TIMEOUT'])
      metrics.instrumentTool(`tool_${tool}`, () => ({ isError: true, _meta: { 'x/error': { code } } }))();
  const refusals = [...(await scrape(metrics)).keys()].filter((key) => key.startsWith('tool_refusals_total'));
  expect(refusals).toHaveLength(16);
});

test('a thing that has no place of its own takes nothing of the others along', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
  const stops = Array.from({ length: 10 }, (_, index) =>
    metrics.observe('loader', `l${index}`, { stats: () => exampleStats.loader }),
  );
  await scrape(metrics);
  stops[9]?.();
  metrics.observe('loader', 'next', { stats: () => exampleStats.loader });
  const samples = await scrape(metrics);
  expect(samples.get('loader_loads_total{loader="__other__"}')).toBe(3);
  expect(samples.has('loader_loads_total{loader="next"}')).toBe(false);
});

test('a reason may have the name of anything that objects have', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  const rejected = JSON.parse('{"__proto__":1,"constructor":2}');
  metrics.observe('limiter', 'l', { stats: () => ({ ...exampleStats.limiter, rejected }) });
  const samples = await scrape(metrics);
  expect(samples.get('limiter_rejected_total{limiter="l",reason="__proto__"}')).toBe(1);
  expect(samples.get('limiter_rejected_total{limiter="l",reason="constructor"}')).toBe(2);
});

test('a thing that is observed no more makes room, and what had no room stays where it is', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
  const stops = Array.from({ length: 9 }, (_, index) =>
    metrics.observe('loader', `l${index}`, { stats: () => exampleStats.loader }),
  );
  await scrape(metrics);
  stops[0]?.();
  metrics.observe('loader', 'next', { stats: () => exampleStats.loader });
  const samples = await scrape(metrics);
  expect(samples.get('loader_loads_total{loader="next"}')).toBe(1);
  expect(samples.has('loader_loads_total{loader="l0"}')).toBe(false);
  expect(samples.get('loader_loads_total{loader="__other__"}')).toBe(1);
  expect(samples.get('metrics_dropped_series_total{metric="loader_loads_total"}')).toBe(1);
});

test('codes that a handler makes up are not shown', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  let calls = 0;
  const handler = metrics.instrumentTool('t', () => ({
    isError: true,
    _meta: { 'x/error': { code: `ERR_${calls++}` } },
  }));
  for (let index = 0; index < 80; index++) handler();
  const samples = await scrape(metrics);
  expect([...samples.keys()].filter((key) => key.startsWith('tool_refusals_total'))).toEqual([]);
});
