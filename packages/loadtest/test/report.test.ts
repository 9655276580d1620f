import { type LoadTestProgress, runLoadTest } from '@x/loadtest';
import { expect, test } from 'vitest';
import { showProgress } from '../src/progress-display.ts';
import { renderReport } from '../src/report.ts';
import { reply, startRaw, success } from './mcp-servers.ts';

test('the report warns where requests were not sent, and where the generator was busy', async () => {
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, durationMs: 20 });
  const well = renderReport({ ...result, generatorUtilization: 0.9 });
  expect(well).not.toMatch(/not sent|busy/);
  const late = renderReport({ ...result, rate: 50, notSent: 7, generatorUtilization: 0.951 });
  expect(late).toContain('7 requests were due but not sent: the server did not keep up with 50 per second');
  expect(late).toContain('This process was busy 95 % of the time');
});

test('where there is no terminal, progress is a line after a second and each five seconds from then on', () => {
  let written = '';
  const stream = { write: (text: string) => (written += text) } as never;
  const { update, stop } = showProgress(stream, false);
  const nothing = { min: 0, mean: 0, p50: Number.NaN, p90: 0, p95: 0, p99: 0, p999: 0, max: 0 };
  const progress: LoadTestProgress = {
    phase: 'measuring',
    elapsedMs: 0,
    durationMs: 12_000,
    total: 3,
    successes: 1,
    failures: 2,
    inFlight: 1,
    requestsPerSecond: 4,
    latencyMs: nothing,
  };
  for (let second = 1; second <= 12; second++) update({ ...progress, elapsedMs: second * 1_000 });
  update({ ...progress, phase: 'draining', elapsedMs: 12_100 });
  stop();
  expect(written.split('\n')).toEqual([
    'measuring 1 s: 3 requests, 2 failed, 4/s',
    'measuring 6 s: 3 requests, 2 failed, 4/s',
    'measuring 11 s: 3 requests, 2 failed, 4/s',
    'last answers 12 s: 3 requests, 2 failed, 4/s',
    '',
  ]);
});
