import { Metrics } from '@x/metrics';
import { expect, test } from 'vitest';
import { samplesOf } from '../exposition.ts';

// Calls stayed in flight for ever, or ended twice, where what a handler returns or is given is stranger than a promise.

const inFlight = async (metrics: Metrics) =>
  samplesOf(await metrics.registry.metrics()).get('tool_executions_in_flight{tool_name="t"}');

const fail = () => {
  throw new Error('then');
};
const strange: [how: string, then: PropertyDescriptor][] = [
  [
    'calls back twice',
    {
      value: (resolve: (value: number) => void) => {
        resolve(1);
        resolve(2);
      },
    },
  ],
  ['throws', { value: fail }],
  ['cannot be looked at', { get: fail }],
];

test.each(strange)('a thenable that %s ends its call once', async (_how, then) => {
  const metrics = new Metrics({ defaultMetrics: false });
  const handler = metrics.instrumentTool('t', () => Object.defineProperty({}, 'then', then));
  await (async () => handler())().catch(() => {});
  expect(await inFlight(metrics)).toBe(0);
});

test('a context that cannot be looked at does not take the place of what the handler threw', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  const failure = new Error('mine');
  const context = {
    get signal(): AbortSignal {
      throw new Error('context');
    },
  };
  const handler = metrics.instrumentTool('t', async (_args: object, _context: object) => Promise.reject(failure));
  await expect(handler({}, context)).rejects.toBe(failure);
  expect(await inFlight(metrics)).toBe(0);
});
