import { runLoadTest } from '@x/loadtest';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { reply, startRaw, success } from '../mcp-servers.ts';

// Where the args function threw, the other lanes went on, unseen, until the time was over; where it asked for the end,
// its own request was waited for.

test('an args function that throws ends the test with its error, and nothing goes on', async () => {
  const failure = new Error('no more');
  const clock = new ManualClock();
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  const asked: number[] = [];
  const args = (seq: number) => {
    asked.push(seq);
    if (seq === 5) throw failure;
    return {};
  };
  await expect(runLoadTest({ target: server.url, tool: 't', concurrency: 3, args, clock })).rejects.toBe(failure);
  const before = asked.length;
  await clock.advance(60_000);
  expect(asked).toHaveLength(before);
  expect(clock.pendingTimers).toBe(0);
});

test('an args function that asks for the end does not wait for the request it was asked for', async () => {
  const stop = new AbortController();
  await using server = await startRaw(({ id }, response) => {
    if (id !== 2) reply(response, { id, result: success });
  });
  const args = (seq: number) => {
    if (seq === 1) stop.abort();
    return {};
  };
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, args, signal: stop.signal });
  expect(result).toMatchObject({ aborted: true, total: 1, successes: 1 });
});
