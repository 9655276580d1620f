import { Metrics } from '@x/metrics';
import { ManualClock } from '@x/testkit';
import { Histogram } from 'prom-client';
import { expect, expectTypeOf, test } from 'vitest';
import { samplesOf } from './exposition.ts';

function setUp() {
  const clock = new ManualClock();
  const metrics = new Metrics({ defaultMetrics: false, clock, refusalCodes: ['ERR_OURS'] });
  return {
    clock,
    metrics,
    async count(status: string) {
      const samples = samplesOf(await metrics.registry.metrics());
      return samples.get(`tool_execution_duration_seconds_count{status="${status}",tool_name="t"}`);
    },
  };
}

const refusal = { isError: true, content: [], _meta: { 'x/error': { code: 'ERR_CIRCUIT_OPEN', retryAfterMs: 5 } } };
const withCode = (code: unknown) => ({ isError: true, content: [], _meta: { 'x/error': { code } } });
const aborted = { signal: AbortSignal.abort() };

test.each([
  ['success', () => ({ content: [] }), {}],
  ['success', () => undefined, {}],
  ['success', () => 'text', undefined],
  ['error', () => ({ isError: true, content: [] }), {}],
  ['error', () => ({ isError: true, content: [], _meta: { other: 1 } }), {}],
  ['refused', () => refusal, {}],
  ['refused', () => withCode('ERR_OVERLOADED'), {}],
  ['refused', () => withCode('ERR_TIMEOUT'), {}],
  ['refused', () => withCode('ERR_OURS'), {}],
  ['error', () => withCode('ERR_NOT_FOUND'), {}],
  ['error', () => withCode('ERR_INVALID_ITEMS'), {}],
  ['error', () => withCode(undefined), {}],
  ['error', () => withCode({}), {}],
  ['cancelled', () => refusal, aborted],
  ['success', () => ({ ...refusal, isError: false }), {}],
  ['error', () => Promise.reject(new Error('no')), {}],
  ['error', () => Promise.reject(new Error('no')), { signal: new AbortController().signal }],
  ['cancelled', () => Promise.reject(new Error('no')), aborted],
  ['cancelled', () => Promise.reject(new Error('no')), { mcpReq: aborted }],
  ['cancelled', () => ({ isError: true, content: [] }), aborted],
  ['success', () => ({ content: [] }), aborted],
])('%s: %s with context %j', async (status, run, context) => {
  const { metrics, count } = setUp();
  const handler = metrics.instrumentTool('t', async (_args: object, _context?: object) => run());
  await handler({}, context).catch(() => {});
  for (const other of ['success', 'error', 'refused', 'cancelled'])
    expect(await count(other), other).toBe(other === status ? 1 : undefined);
});

test('a handler that returns or throws without a promise is measured as well, and stays without one', async () => {
  const { metrics, count } = setUp();
  const result = {};
  expect(metrics.instrumentTool('t', () => result)()).toBe(result);
  const failure = new Error('no');
  expect(
    metrics.instrumentTool('t', () => {
      throw failure;
    }),
  ).toThrow(failure);
  expect(await count('success')).toBe(1);
  expect(await count('error')).toBe(1);
});

test('a thenable that is no promise is waited for as well', async () => {
  const { metrics, clock, count } = setUp();
  const thenable = Object.defineProperty({}, 'then', {
    value: (resolve: (value: object) => void) => clock.setTimeout(() => resolve(refusal), 1_500),
  }) as PromiseLike<object>;
  const running = metrics.instrumentTool('t', () => thenable)();
  expect(await metrics.registry.metrics()).toContain('tool_executions_in_flight{tool_name="t"} 1\n');
  await clock.advance(1_500);
  expect(await running).toBe(refusal);
  expect(await count('refused')).toBe(1);
  expect(await metrics.registry.metrics()).toContain(
    'tool_execution_duration_seconds_sum{tool_name="t",status="refused"} 1.5\n',
  );
});

test('arguments, this, result and rejection pass through unchanged', async () => {
  const { metrics } = setUp();
  const seen: unknown[] = [];
  const handler = metrics.instrumentTool('t', async function (this: unknown, ...args: unknown[]) {
    seen.push(this, ...args);
    return args;
  });
  const self = { handler };
  const result = await self.handler(1, 2, 3);
  expect(seen).toEqual([self, 1, 2, 3]);
  expect(result).toEqual([1, 2, 3]);
  const failure = new Error('no');
  await expect(metrics.instrumentTool('t', () => Promise.reject(failure))()).rejects.toBe(failure);
});

test('the type of the handler is kept', () => {
  const { metrics } = setUp();
  const handler = async (args: { id: string }, _context: { signal: AbortSignal }) => ({
    structuredContent: { id: args.id },
  });
  expectTypeOf(metrics.instrumentTool('t', handler)).toEqualTypeOf<typeof handler>();
});

test('the duration is seconds from call to end', async () => {
  const { metrics, clock } = setUp();
  const handler = metrics.instrumentTool('t', () => new Promise<void>((resolve) => clock.setTimeout(resolve, 1_500)));
  const running = handler();
  expect(await metrics.registry.metrics()).toContain('tool_executions_in_flight{tool_name="t"} 1\n');
  await clock.advance(1_500);
  await running;
  const text = await metrics.registry.metrics();
  const samples = samplesOf(text);
  expect(text).toContain('tool_executions_in_flight{tool_name="t"} 0\n');
  expect(samples.get('tool_execution_duration_seconds_sum{status="success",tool_name="t"}')).toBe(1.5);
  expect(samples.get('tool_execution_duration_seconds_bucket{le="1",status="success",tool_name="t"}')).toBe(0);
  expect(samples.get('tool_execution_duration_seconds_bucket{le="2.5",status="success",tool_name="t"}')).toBe(1);
});

test('the clock is read once at the start and once at the end', async () => {
  let reads = 0;
  const clock = { now: () => ++reads, setTimeout, clearTimeout: () => {} };
  const metrics = new Metrics({ defaultMetrics: false, clock });
  await metrics.instrumentTool('t', async () => refusal)();
  expect(reads).toBe(2);
});

test('a refusal is counted by its code, another error is not', async () => {
  const { metrics } = setUp();
  for (const result of [refusal, refusal, withCode('ERR_OURS'), withCode('ERR_NOT_FOUND')])
    await metrics.instrumentTool('t', async () => result)();
  const samples = samplesOf(await metrics.registry.metrics());
  expect([...samples].filter(([key]) => key.startsWith('tool_refusals_total'))).toEqual([
    ['tool_refusals_total{code="ERR_CIRCUIT_OPEN",tool_name="t"}', 2],
    ['tool_refusals_total{code="ERR_OURS",tool_name="t"}', 1],
  ]);
});

test('a result that cannot be read is an error and reaches the caller', async () => {
  const { metrics, count } = setUp();
  const hostile = {
    get isError(): boolean {
      throw new Error('hostile');
    },
  };
  expect(await metrics.instrumentTool('t', async () => hostile)()).toBe(hostile);
  expect(await count('error')).toBe(1);
});

test('a name that is instrumented again goes on with its counts', async () => {
  const { metrics, count } = setUp();
  for (let request = 0; request < 3; request++) await metrics.instrumentTool('t', async () => ({}))();
  expect(await count('success')).toBe(3);
});

test('the histogram is one of prom-client, with the buckets asked for', async () => {
  const metrics = new Metrics({ defaultMetrics: false, buckets: [0.5, 2] });
  expect(metrics.registry.getSingleMetric('tool_execution_duration_seconds')).toBeInstanceOf(Histogram);
  metrics.instrumentTool('t', () => ({}))();
  const bounds = (await metrics.registry.metrics()).match(/(?<=_bucket\{le=")[^"]+/g);
  expect(bounds).toEqual(['0.5', '2', '+Inf']);
});
