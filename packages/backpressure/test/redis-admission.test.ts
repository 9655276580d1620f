import { ConcurrencyLimiter } from '@x/backpressure';
import { rateLimitedTool } from '@x/backpressure/mcp';
import { RedisRateLimiter, type RedisRateLimiterOptions } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openRaw, serve, until } from './admission-server.ts';

const startOwn = () => startRedis({ external: false });
let redis: Awaited<ReturnType<typeof startOwn>>;
const opened: { client: Redis; rate: RedisRateLimiter }[] = [];

beforeAll(async () => {
  redis = await startOwn();
});
afterAll(async () => {
  await redis?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await redis.resume();
  for (const { client, rate } of opened.splice(0)) {
    await rate.close();
    client.disconnect();
  }
});

/** As one process of several has it: a client and a limiter of its own. */
function limiter(prefix: string, options: Partial<RedisRateLimiterOptions> = {}): RedisRateLimiter {
  const client = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => {});
  const rate = new RedisRateLimiter({
    client,
    limit: 4,
    intervalMs: 1e9,
    prefix,
    commandTimeoutMs: 60_000,
    ...options,
  });
  opened.push({ client, rate });
  return rate;
}

const statuses = async (...urls: string[]) => {
  const seen: number[] = [];
  for (const url of urls) seen.push((await fetch(url)).status);
  return seen;
};

test('two servers on one Redis share what a caller may ask, and say when to come back', async () => {
  const rates = [limiter('shared:'), limiter('shared:')];
  const [one = '', two = ''] = await Promise.all(
    rates.map(async (rateLimiter) => {
      const { url } = await serve((_, response) => response.end('ok'), {
        rateLimiter,
        limiter: new ConcurrencyLimiter({ limit: 1 }),
      });
      return url;
    }),
  );
  expect(await statuses(one, two, one, two, one, two)).toEqual([200, 200, 200, 200, 429, 429]);
  const refused = await fetch(one, { method: 'POST', body: '{"id":"a","method":"m"}' });
  const { id, error } = (await refused.json()) as { id: string; error: { data: { retryAfterMs: number } } };
  expect(id).toBe('a');
  // A unit takes a quarter of the interval, and the answer is never less.
  expect(error.data.retryAfterMs).toBeGreaterThan(0.24 * 1e9);
  expect(Number(refused.headers.get('retry-after'))).toBe(Math.ceil(error.data.retryAfterMs / 1_000));
  expect(await statuses(`${two}/health`)).toEqual([200]);
});

test('a caller over its rate holds no permit, and one without a permit has paid for its question', async () => {
  const permits = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
  const permit = permits.tryAcquire();
  const { url } = await serve((_, response) => response.end('ok'), {
    rateLimiter: limiter('order:', { limit: 1 }),
    limiter: permits,
  });
  expect(await statuses(url)).toEqual([503]);
  permit?.release();
  expect(await statuses(url)).toEqual([429]);
  expect(permits.stats()).toMatchObject({ admitted: 1, inFlight: 0 });
});

test.each([
  ['deny', [503, 503, 503], 'rate_limiter_unavailable'],
  ['allow', [200, 200, 200], undefined],
  ['local', [200, 200, 429], 'rate_limited'],
] as const)("while Redis is away '%s' decides, over HTTP and for a tool", async (onUnavailable, expected, reason) => {
  const rate = limiter(`away-${onUnavailable}:`, { onUnavailable, localShare: 0.5, commandTimeoutMs: 20 });
  const { url } = await serve((_, response) => response.end('ok'), { rateLimiter: rate });
  const tool = rateLimitedTool(rate, async (_ctx: object): Promise<{ _meta?: object }> => ({}));
  await redis.pause();
  expect(await statuses(url, url, url)).toEqual(expected);
  const results = [await tool({}), await tool({}), await tool({})];
  expect(results.map(({ _meta }) => (_meta as { 'x/error'?: { reason: string } })?.['x/error']?.reason)).toEqual(
    expected.map((status) => (status === 200 ? undefined : reason)),
  );
});

test('a client that goes away while Redis is asked is not served, and takes no permit', async () => {
  const permits = new ConcurrencyLimiter({ limit: 1 });
  const rate = limiter('left:');
  let served = 0;
  let asked = 0;
  let left = 0;
  const { url, port } = await serve(
    (_, response) => {
      served++;
      response.end('ok');
    },
    {
      rateLimiter: rate,
      limiter: permits,
      key: (request) => {
        asked++;
        request.socket.once('close', () => left++);
        return 'caller';
      },
    },
  );
  expect(await statuses(url)).toEqual([200]);
  await redis.pause();
  const { socket } = await openRaw(port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => asked === 2);
  const before = left;
  socket.destroy();
  await until(() => left > before);
  await redis.resume();
  await until(() => rate.stats().allowed === 2);
  await new Promise((resolve) => setImmediate(resolve));
  expect(served).toBe(1);
  expect(permits.stats().admitted).toBe(1);
});
