import { Metrics } from '@x/metrics';
import { expect, test } from 'vitest';
import { samplesOf } from '../exposition.ts';
import { exampleStats } from '../stats.ts';

// What one thing does wrong in its stats() reached further than that thing.

const scrape = async (metrics: Metrics) => samplesOf(await metrics.registry.metrics());
const of = (samples: Map<string, number>, name: string) => [...samples].filter(([key]) => key.startsWith(name));

test('things that throw do not make more series than maxSeries', async () => {
  const metrics = new Metrics({ defaultMetrics: false, maxSeries: 8 });
  const fail = () => {
    throw new Error('sick');
  };
  const stops = Array.from({ length: 10 }, (_, index) => metrics.observe('queue', `q${index}`, { stats: fail }));
  await scrape(metrics);
  const name = 'metrics_collect_errors_total';
  const samples = await scrape(metrics);
  expect(of(samples, name)).toHaveLength(9);
  expect(samples.get(`${name}{kind="queue",name="q7"}`)).toBe(2);
  expect(samples.get(`${name}{kind="__other__",name="__other__"}`)).toBe(4);
  expect(samples.get(`metrics_dropped_series_total{metric="${name}"}`)).toBe(2);
  // One that leaves makes room; one that had none takes nothing along.
  stops[0]?.();
  stops[9]?.();
  metrics.observe('queue', 'next', { stats: fail });
  const after = await scrape(metrics);
  expect(after.get(`${name}{kind="queue",name="next"}`)).toBe(1);
  expect(after.get(`${name}{kind="__other__",name="__other__"}`)).toBe(5);
});

test('a cache without all its numbers does not hide the hit ratio of the others', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  const idle = { ...exampleStats.cache, hitsRemote: 0, hitsMemory: 1, misses: 3 };
  metrics.observe('cache', 'half', { stats: () => ({ ...idle, misses: undefined as never }) });
  metrics.observe('cache', 'whole', { stats: () => idle });
  expect((await scrape(metrics)).get('cache_hit_ratio{cache_type="memory"}')).toBe(0.25);
});

test('a stats() that gives a promise is told, and its rejection is nobody else’s', async () => {
  const told: unknown[] = [];
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  const metrics = new Metrics({ defaultMetrics: false, onError: (error) => told.push(error) });
  metrics.observe('queue', 'q', { stats: (() => Promise.reject(new Error('no'))) as never });
  await scrape(metrics);
  await new Promise(setImmediate);
  process.off('unhandledRejection', note);
  expect(told).toEqual([new TypeError('@x/metrics: stats() of "q" must return its numbers at once, got a promise')]);
  expect(unhandled).toEqual([]);
});

test('a thing that ends its own observation in stats() leaves no series behind', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  let last = false;
  const stop = metrics.observe('queue', 'q', {
    stats: () => {
      if (last) stop();
      return exampleStats.queue;
    },
  });
  expect(of(await scrape(metrics), 'queue_')).toHaveLength(7);
  last = true;
  for (let scrapes = 0; scrapes < 2; scrapes++)
    expect([...(await scrape(metrics)).keys()].filter((key) => key.includes('queue="q"'))).toEqual([]);
});
