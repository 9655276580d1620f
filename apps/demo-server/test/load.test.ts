import { runLoadTest } from '@x/loadtest';
import { expect, test } from 'vitest';
import { startDemo } from './demo.ts';

test('a short load of 20 callers is answered without a failure', async () => {
  await using server = await startDemo();
  const report = await runLoadTest({
    target: server.url,
    tool: 'get_user',
    args: (seq) => ({ user_id: `u${1 + (seq % 5_000)}` }),
    concurrency: 20,
    durationMs: 2_000,
  });
  expect(report.total).toBeGreaterThan(20);
  expect(report.failuresByClass).toEqual(expect.objectContaining({ http: expect.objectContaining({ count: 0 }) }));
  expect(report.failures).toBe(0);
}, 60_000);
