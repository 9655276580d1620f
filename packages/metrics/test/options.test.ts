import { Metrics } from '@x/metrics';
import { expect, test } from 'vitest';

test.each([
  [{ prefix: '1x' }, '@x/metrics: prefix must be letters, digits and _, not beginning with a digit, got "1x"'],
  [{ prefix: 'a-b' }, '@x/metrics: prefix must be letters, digits and _, not beginning with a digit, got "a-b"'],
  [{ buckets: [] }, '@x/metrics: buckets must be finite seconds > 0 in ascending order, got []'],
  [{ buckets: [1, 1] }, '@x/metrics: buckets must be finite seconds > 0 in ascending order, got [1,1]'],
  [{ buckets: [0, 1] }, '@x/metrics: buckets must be finite seconds > 0 in ascending order, got [0,1]'],
  [
    { refusalCodes: ['a b'] },
    '@x/metrics: refusalCodes must be words of at most 64 letters, digits, _ . : -, got ["a b"]',
  ],
  [{ maxSeries: 7 }, '@x/metrics: maxSeries must be an integer >= 8, got 7'],
  [{ maxSeries: 1.5 }, '@x/metrics: maxSeries must be an integer >= 8, got 1.5'],
])('%j is refused', (options, message) => {
  expect(() => new Metrics(options)).toThrow(new RangeError(message));
});

test.each([
  [{ onError: 'x' }, 'onError must be a function, got "x"'],
  [{ clock: {} }, 'clock must be an object with now(), got [object Object]'],
  [
    { registry: null },
    'registry must be an object with getSingleMetric(), removeSingleMetric(), registerMetric(), getMetricsAsArray(), metrics(), got null',
  ],
])('%j is of the wrong type', (options, message) => {
  expect(() => new Metrics(options as never)).toThrow(new TypeError(`@x/metrics: ${message}`));
});

test('what is observed or instrumented is checked', () => {
  const metrics = new Metrics({ defaultMetrics: false });
  const thing = { stats: () => ({}) };
  expect(() => metrics.observe('nothing' as never, 'x', thing as never)).toThrow(
    '@x/metrics: observe kind must be one of cache, breaker, limiter, queue, rate-limiter, loader, batcher, pool, http, workers, got "nothing"',
  );
  expect(() => metrics.observe('cache', '', thing as never)).toThrow(
    '@x/metrics: observe name must be a string that is not empty, got ""',
  );
  expect(() => metrics.observe('cache', 'c', undefined as never)).toThrow(
    '@x/metrics: observe cache "c" must have a function stats(), got undefined',
  );
  expect(() => metrics.instrumentTool('t', undefined as never)).toThrow(
    '@x/metrics: instrumentTool handler must be a function, got undefined',
  );
});

test('an option set to undefined counts as absent', async () => {
  const metrics = new Metrics({
    registry: undefined,
    prefix: undefined,
    buckets: undefined,
    refusalCodes: undefined,
    defaultMetrics: undefined,
    maxSeries: undefined,
    onError: undefined,
    clock: undefined,
  });
  expect(await metrics.registry.metrics()).toContain('process_cpu_seconds_total');
});
