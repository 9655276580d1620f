import {
  AimdLimit,
  BackpressureQueue,
  ClientThrottle,
  ConcurrencyLimiter,
  GradientLimit,
  LoadShedder,
  mapLimit,
  RateLimiter,
  RetryBudget,
  VegasLimit,
} from '@x/backpressure';
import { limitedTool, rateLimitedTool } from '@x/backpressure/mcp';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { describe, expect, test } from 'vitest';

const limiter = new ConcurrencyLimiter({ limit: 1 });
const rateLimiter = new RateLimiter({ limit: 1, intervalMs: 1 });
const handler = async () => ({});

const made: Record<string, (options: never) => unknown> = {
  ConcurrencyLimiter: (options: object) => new ConcurrencyLimiter({ limit: 1, ...options }),
  'adaptive ConcurrencyLimiter': (options: object) => new ConcurrencyLimiter({ limit: new VegasLimit(), ...options }),
  BackpressureQueue: (options) => new BackpressureQueue(options),
  LoadShedder: (options) => new LoadShedder(options),
  RateLimiter: (options: object) => new RateLimiter({ limit: 1, intervalMs: 1, ...options }),
  RetryBudget: (options) => new RetryBudget(options),
  ClientThrottle: (options) => new ClientThrottle(options),
  AimdLimit: (options) => new AimdLimit(options),
  GradientLimit: (options) => new GradientLimit(options),
  VegasLimit: (options) => new VegasLimit(options),
  limitedTool: (options) => limitedTool(limiter, handler, options),
  rateLimitedTool: (options) => rateLimitedTool(rateLimiter, handler, options),
};
const clock = 'clock must be an object with now() and setTimeout() and clearTimeout(), got null';

describe('only undefined counts as absent', () => {
  test.each([
    ['ConcurrencyLimiter', { limit: null }, 'limit must be an integer >= 1 or Infinity, got null'],
    ['ConcurrencyLimiter', { limit: '5' }, "limit must be an integer >= 1 or Infinity, got '5'"],
    ['ConcurrencyLimiter', { limit: {} }, 'limit must be an integer >= 1 or an adaptive limit, got [object Object]'],
    ['ConcurrencyLimiter', { maxQueue: null }, 'maxQueue must be an integer >= 0 or Infinity, got null'],
    ['ConcurrencyLimiter', { queueTimeoutMs: '1' }, "queueTimeoutMs must be a number >= 0, got '1'"],
    ['ConcurrencyLimiter', { order: null }, "order must be one of 'fifo', 'lifo', 'adaptive', got null"],
    ['ConcurrencyLimiter', { name: null }, 'name must be a string, got null'],
    ['ConcurrencyLimiter', { random: null }, 'random must be a function, got null'],
    ['ConcurrencyLimiter', { clock: null }, clock],
    ['adaptive ConcurrencyLimiter', { classify: null }, 'classify must be a function, got null'],
    ['BackpressureQueue', { maxSize: null }, 'maxSize must be an integer >= 1, got null'],
    ['BackpressureQueue', { healthyBelow: '0.5' }, "healthyBelow must be a number from 0 to 1, got '0.5'"],
    ['BackpressureQueue', { clock: null }, clock],
    ['LoadShedder', { eventLoopDelayMs: null }, 'eventLoopDelayMs must be a finite number > 0, got null'],
    ['LoadShedder', { rssBytes: null }, 'rssBytes must be a finite number > 0, got null'],
    ['LoadShedder', { pressure: 1 }, 'pressure must be a function, got 1'],
    ['LoadShedder', { random: null }, 'random must be a function, got null'],
    ['LoadShedder', { clock: null }, clock],
    ['RateLimiter', { burst: null }, 'burst must be a finite number > 0, got null'],
    ['RateLimiter', { maxKeys: '5' }, "maxKeys must be an integer >= 1, got '5'"],
    ['RateLimiter', { clock: null }, clock],
    ['RetryBudget', { ratio: '0.1' }, "ratio must be a number from 0 to 1, got '0.1'"],
    ['RetryBudget', { clock: null }, clock],
    ['ClientThrottle', { k: null }, 'k must be a number >= 1, got null'],
    ['ClientThrottle', { isOverload: null }, 'isOverload must be a function, got null'],
    ['ClientThrottle', { name: 5 }, 'name must be a string, got 5'],
    ['ClientThrottle', { random: null }, 'random must be a function, got null'],
    ['ClientThrottle', { clock: null }, clock],
    ['AimdLimit', { slowMs: null }, 'slowMs must be a finite number > 0, got null'],
    ['AimdLimit', { backoff: '0.5' }, "backoff must be a finite number > 0, got '0.5'"],
    ['GradientLimit', { tolerance: null }, 'tolerance must be a number >= 1, got null'],
    ['VegasLimit', { initialLimit: null }, 'initialLimit must be'],
    ['VegasLimit', { windowMs: null }, 'windowMs must be a finite number > 0, got null'],
    ['limitedTool', { name: null }, 'name must be a string, got null'],
    ['limitedTool', { key: null }, 'key must be a function, got null'],
    ['limitedTool', { priority: 'high' }, "priority must be one of 'critical', 'default', 'sheddable', got 'high'"],
    ['limitedTool', { timeoutMs: null }, 'timeoutMs must be a number >= 0, got null'],
    ['rateLimitedTool', { name: 5 }, 'name must be a string, got 5'],
    ['rateLimitedTool', { key: null }, 'key must be a function, got null'],
    ['rateLimitedTool', { cost: '1' }, "cost must be a finite number > 0, got '1'"],
  ])('%s refuses %j', (what, options, message) => {
    expect(() => made[what]?.(options as never)).toThrow(`@x/backpressure: ${message}`);
  });

  test.each(Object.keys(made))('%s takes undefined', async (what) => {
    const names =
      'maxQueue queueTimeoutMs order classify name clock random maxSize healthyBelow eventLoopDelayMs rssBytes';
    const more =
      'heapRatio pressure sampleMs burst maxKeys ratio windowMs k isOverload slowMs tolerance key priority cost';
    const options = Object.fromEntries(`${names} ${more}`.split(' ').map((name) => [name, undefined]));
    const thing = made[what]?.(options as never);
    if (thing instanceof LoadShedder) await thing.close();
  });

  test('the wrappers refuse what is no limiter or no handler', () => {
    expect(() => limitedTool({} as never, handler)).toThrow('limiter must be an object with run()');
    expect(() => limitedTool(limiter, null as never)).toThrow('handler must be a function, got null');
    expect(() => rateLimitedTool({} as never, handler)).toThrow('rateLimiter must be an object with consume()');
    expect(() => rateLimitedTool(rateLimiter, null as never)).toThrow('handler must be a function, got null');
  });

  test('what a call is given is looked at too', async () => {
    expect(() => rateLimiter.tryConsume('k', { cost: null as never })).toThrow('cost must be a number > 0');
    expect(() => rateLimiter.tryConsume('k', { cost: '1' as never })).toThrow('cost must be a number > 0');
    await expect(mapLimit([1], '2' as never, async (n) => n)).rejects.toThrow(
      "limit must be an integer >= 1 or Infinity, got '2'",
    );
  });
});

describe('a signal that is none is refused, not found out later', () => {
  const queue = new BackpressureQueue();
  const throttle = new ClientThrottle();
  const redis = new RedisRateLimiter({ client: { status: 'end', call: async () => [] }, limit: 1, intervalMs: 1 });
  test.each<[string, (signal: never) => Promise<unknown>]>([
    ['ConcurrencyLimiter.run', (signal) => limiter.run(handler, { signal })],
    ['ConcurrencyLimiter.acquire', (signal) => limiter.acquire({ signal })],
    ['BackpressureQueue.enqueue', (signal) => queue.enqueue(1, { signal })],
    ['BackpressureQueue.dequeue', (signal) => queue.dequeue({ signal })],
    ['ClientThrottle.run', (signal) => throttle.run(handler, { signal })],
    ['RateLimiter.consume', (signal) => rateLimiter.consume('a', { signal })],
    ['RedisRateLimiter.consume', (signal) => redis.consume('a', { signal })],
    ['mapLimit', (signal) => mapLimit([1], 1, handler, { signal })],
  ])('%s', async (_what, call) => {
    for (const none of [null, {}, 'signal']) {
      await expect(call(none as never)).rejects.toThrow('@x/backpressure: signal must be an AbortSignal, got ');
    }
  });
});
