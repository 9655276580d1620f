import { ConcurrencyLimiter } from '@x/backpressure';
import { limitedTool } from '@x/backpressure/mcp';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// A handler whose promise rejects with its signal's reason as soon as that aborts, as those of many clients do, had the time-out thrown as an
// error of its own: no result for the model, and a message with the limiter's name for the client.

type Context = { signal: AbortSignal };
const outer = new AbortController().signal;

test.each<[string, (signal: AbortSignal) => Promise<never>]>([
  [
    'the reason itself',
    (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  ],
  [
    'it later',
    async (signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      throw signal.reason;
    },
  ],
  [
    'an error of its own',
    (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
  ],
])('a handler that rejects with %s when its time is up has a time-out as its result', async (_with, work) => {
  const clock = new ManualClock();
  const limiter = new ConcurrencyLimiter({ limit: 1, clock });
  const tool = limitedTool(limiter, ({ signal }: Context): Promise<object> => work(signal), { timeoutMs: 20 });
  const result = tool({ signal: outer });
  await clock.advance(20);
  expect(await result).toMatchObject({
    isError: true,
    _meta: { 'x/error': { code: 'ERR_TIMEOUT', reason: 'timeout' } },
  });
  await limiter.onIdle();
});

test('what it rejects with of itself still passes through', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  for (const error of [Object.assign(new Error('inner'), { code: 'ERR_TIMEOUT', timeoutMs: 5 }), undefined, null]) {
    const tool = limitedTool(limiter, (_ctx: Context): Promise<object> => Promise.reject(error), { timeoutMs: 60_000 });
    await expect(tool({ signal: outer })).rejects.toBe(error);
  }
});
