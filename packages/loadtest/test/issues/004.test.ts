import { type Clock, runLoadTest } from '@x/loadtest';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { reply, startRaw, success } from '../mcp-servers.ts';
import { runOnStepClock } from '../step-clock.ts';

// After a warm-up the rate left out what the warm-up had sent and the measured time saw answered: a server that takes
// half the measured time for an answer was shown with half its rate.
test('the rate after a warm-up is that of the answers within the measured time', async () => {
  const clock = new ManualClock();
  await using server = await startRaw(async ({ id }, response) => {
    await clock.advance(100);
    reply(response, { id, result: success });
  });
  // Answered at 100, 200 (measured from 150 on), 300 and 400 (measured until 350).
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 1, warmupMs: 150, durationMs: 200 },
    clock,
  );
  expect(result).toMatchObject({ total: 2, requestsPerSecond: 10, successesPerSecond: 10 });
});

// Node fires a timer of more than 2^31 - 1 ms at once: a lane that waited for a request due in a month span until then.
test('a wait longer than a timer can be is made of several', async () => {
  const stop = new AbortController();
  const asked: number[] = [];
  const clock: Clock = {
    now: () => performance.now(),
    setTimeout: (fn, ms) => {
      asked.push(ms);
      if (ms > 100_000) queueMicrotask(() => stop.abort());
      return setTimeout(fn, Math.min(ms, 2 ** 31 - 1));
    },
    clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  };
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  const long = { durationMs: 2e10, rate: 1e-7, concurrency: 1, clock, signal: stop.signal };
  expect(await runLoadTest({ target: server.url, tool: 't', ...long })).toMatchObject({ total: 1, aborted: true });
  expect(Math.max(...asked)).toBe(2 ** 31 - 1);
});
