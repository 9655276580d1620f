import { RedisRateLimiter, type RedisRateLimiterOptions } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { Redis as Redis6 } from 'ioredis-6';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
let client: Redis;
let prefix: string;
let tests = 0;
const day = 86_400_000;

beforeAll(async () => {
  service = await startRedis();
  client = new Redis(service.url);
});
afterAll(async () => {
  client?.disconnect();
  await service?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  prefix = `test-${process.pid}-${tests++}:`;
});

/** Commands may take as long as a busy machine needs: what is not about time-outs must not see one. */
function limiter(options: Partial<RedisRateLimiterOptions> = {}): RedisRateLimiter {
  return new RedisRateLimiter({
    client,
    limit: 3,
    intervalMs: day,
    prefix,
    commandTimeoutMs: 60_000,
    onUnavailable: 'deny',
    ...options,
  });
}

describe('the shared rate', () => {
  test('is a burst, then one by one, and says when there is room again', async () => {
    const rate = limiter();
    expect(await rate.consume('a')).toEqual({ allowed: true, remaining: 2, retryAfterMs: 0 });
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 1 });
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 0 });
    const refused = await rate.consume('a');
    expect(refused).toMatchObject({ allowed: false, remaining: 0 });
    expect(refused.retryAfterMs).toBeGreaterThan(day / 3 - 60_000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(day / 3);
    expect(await rate.consume('b')).toMatchObject({ allowed: true });
    expect(rate.stats()).toEqual({ keys: 0, allowed: 4, denied: 1, available: true, decidedAlone: 0 });
  });

  test('comes back evenly, by the clock of Redis and not by that of the process', async () => {
    const clock = new ManualClock();
    const rate = limiter({ limit: 1_000, intervalMs: 10_000, burst: 1, clock });
    expect(await rate.consume('a')).toMatchObject({ allowed: true });
    clock.jump(day);
    // A unit takes 10 ms: asked without a pause, some are allowed and some are not.
    const began = await serverMs();
    let allowed = 0;
    let denied = 0;
    while (allowed < 5) (await rate.consume('a')).allowed ? allowed++ : denied++;
    expect(allowed).toBeLessThanOrEqual(((await serverMs()) - began) / 10 + 1);
    expect(denied).toBeGreaterThan(0);
  });

  test('counts what a call costs, and what is refused costs nothing', async () => {
    const rate = limiter({ limit: 10, burst: 5 });
    expect(await rate.consume('a', { cost: 4 })).toMatchObject({ allowed: true, remaining: 1 });
    expect(await rate.consume('a', { cost: 2 })).toMatchObject({ allowed: false, remaining: 1 });
    expect(await rate.consume('a', { cost: 0.5 })).toMatchObject({ allowed: true, remaining: 0 });
    expect(await rate.consume('a', { cost: 0.5 })).toMatchObject({ allowed: true });
    for (const cost of [0, -1, 5.5, Number.NaN, '1' as unknown as number]) {
      await expect(rate.consume('a', { cost })).rejects.toThrow('cost must be a number > 0 and <= burst (5)');
    }
  });

  test('is forgotten by Redis once it has recovered', async () => {
    const rate = limiter({ limit: 2, intervalMs: 10_000 });
    await rate.consume('a');
    const ttl = await client.pttl(`${prefix}k:a`);
    expect(ttl).toBeGreaterThan(0);
    expect(ttl).toBeLessThanOrEqual(5_000);
  });

  test('is the same for an ioredis 6 beside an ioredis 5, and after a restart of the scripts', async () => {
    const other = new Redis6(service.url);
    const rates = [limiter({ limit: 4 }), limiter({ limit: 4, client: other })];
    expect(await rates[0]?.consume('a')).toMatchObject({ remaining: 3 });
    await client.script('FLUSH');
    expect(await rates[1]?.consume('a')).toMatchObject({ remaining: 2 });
    expect(await rates[0]?.consume('a')).toMatchObject({ remaining: 1 });
    expect(rates.map((rate) => rate.stats().decidedAlone)).toEqual([0, 0]);
    other.disconnect();
  });

  test('takes one command a call, on one key', async () => {
    const sent: (string | number)[][] = [];
    const seen = {
      status: 'ready',
      call: (command: string, ...args: (string | number)[]) => {
        sent.push([command, ...args]);
        return client.call(command, ...args);
      },
    };
    const rate = limiter({ client: seen });
    await rate.consume('warm');
    sent.length = 0;
    await rate.consume('a');
    expect(sent.map(([command, , keys, key]) => [command, keys, key])).toEqual([['EVALSHA', 1, `${prefix}k:a`]]);
  });
});

describe('names of keys', () => {
  test('are bounded and apart, whatever the caller sends', async () => {
    const rate = limiter({ limit: 1 });
    const hostile = [
      '',
      'x'.repeat(1e6),
      '{a}',
      'a b\r\nFLUSHALL',
      '\ud800',
      '\udbff',
      '\u0000',
      'k:a',
      'h:a',
      '\u00e9',
      'e\u0301',
    ];
    for (const key of hostile)
      expect(await rate.consume(key), JSON.stringify(key.slice(0, 9))).toMatchObject({ allowed: true });
    for (const key of hostile) expect(await rate.consume(key)).toMatchObject({ allowed: false });
    const names = await client.keys(`${prefix}*`);
    expect(names.length).toBe(hostile.length);
    for (const name of names) expect(name).toMatch(/^test-\d+-\d+:(k:[\w.@:/-]{1,64}|h:[\w-]{43})$/);
  });
});

describe('what is found in Redis', () => {
  test.each<[string, (key: string) => Promise<unknown>]>([
    ['words', (key) => client.set(key, 'not a time')],
    ['nan', (key) => client.set(key, 'nan')],
    ['minus infinity', (key) => client.set(key, '-inf')],
    ['bytes', (key) => client.set(key, Buffer.from([0, 255, 1, 254]))],
    ['a list', (key) => client.rpush(key, 'a')],
  ])('%s count as nothing', async (_name, put) => {
    await put(`${prefix}k:a`);
    const rate = limiter();
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 2 });
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 1 });
  });

  test.each(['1e308', 'inf', '9999999999999'])(
    'a time far ahead (%s) locks nobody out for longer than the burst',
    async (held) => {
      await client.set(`${prefix}k:a`, held);
      const refused = await limiter().consume('a');
      expect(refused).toMatchObject({ allowed: false, remaining: 0 });
      expect(refused.retryAfterMs).toBeLessThanOrEqual(day / 3);
    },
  );
});

test('bad options are refused', () => {
  const make = (options: object) => () => limiter(options);
  expect(make({ client: {} })).toThrow('client must be an object with call()');
  expect(make({ limit: 0 })).toThrow('limit must be a finite number > 0, got 0');
  expect(make({ intervalMs: Number.POSITIVE_INFINITY })).toThrow('intervalMs must be');
  expect(make({ burst: -1 })).toThrow('burst must be');
  expect(make({ prefix: 5 })).toThrow('prefix must be a string, got 5');
  expect(make({ onUnavailable: 'guess' })).toThrow(
    "onUnavailable must be one of 'local', 'allow', 'deny', got 'guess'",
  );
  expect(make({ localShare: 0 })).toThrow('localShare must be above 0, got 0');
  expect(make({ localShare: 1.1 })).toThrow('localShare must be a number from 0 to 1');
  expect(make({ commandTimeoutMs: 0 })).toThrow('commandTimeoutMs must be');
  expect(make({ retryAfterMs: 0 })).toThrow('retryAfterMs must be');
  expect(make({ maxKeys: 0 })).toThrow('maxKeys must be an integer >= 1');
});

async function serverMs(): Promise<number> {
  const [seconds, microseconds] = await client.time();
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
}
