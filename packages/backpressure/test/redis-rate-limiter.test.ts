import { createHmac } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { RateLimiter } from '@x/backpressure';
import { RedisRateLimiter, type RedisRateLimiterOptions } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
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

/** The name of a key in Redis: processes of two versions of this package must agree on it. */
function nameOf(key: string, secret = '@x/backpressure/redis'): string {
  return prefix + createHmac('sha256', secret).update(key, 'utf16le').digest('base64url').slice(0, 22);
}

describe('the shared rate', () => {
  test('is a burst, then one by one, and says when there is room again', async () => {
    const rate = limiter();
    expect(await rate.consume('a')).toEqual({ allowed: true, remaining: 2, retryAfterMs: 0, decidedBy: 'redis' });
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 1 });
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 0 });
    const refused = await rate.consume('a');
    expect(refused).toMatchObject({ allowed: false, remaining: 0 });
    expect(refused.retryAfterMs).toBeGreaterThan(day / 3 - 60_000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(day / 3);
    expect(await rate.consume('b')).toMatchObject({ allowed: true });
    expect(rate.stats()).toEqual({
      keys: 2,
      allowed: 4,
      denied: 1,
      available: true,
      decidedAlone: 0,
      deniedFromMemory: 1,
    });
  });

  test('comes back evenly, by the clock of Redis and not by that of the process', async () => {
    // A process whose clock runs a thousand times too fast asks too early, and gains nothing.
    const clock = { ...new ManualClock(), now: () => performance.now() * 1_000 };
    const rate = limiter({ limit: 1_000, intervalMs: 10_000, burst: 1, clock, commandTimeoutMs: 60_000_000 });
    expect(await rate.consume('a')).toMatchObject({ allowed: true });
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
    const ttl = await client.pttl(nameOf('a'));
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
    expect(sent.map(([command, , keys, key]) => [command, keys, key])).toEqual([['EVALSHA', 1, nameOf('a')]]);
  });

  test('a key has the same name every time, however many came between and however long it is', async () => {
    const names: unknown[] = [];
    const seen = {
      status: 'ready',
      call: (command: string, ...args: (string | number)[]) => {
        names.push(args[2]);
        return client.call(command, ...args);
      },
    };
    const rate = limiter({ client: seen, maxKeys: 2, limit: 100 });
    const keys = ['a', 'b', 'c', 'x'.repeat(1_000), `${'x'.repeat(999)}y`, 'd'];
    await rate.consume('the first loads the script');
    names.length = 0;
    for (const key of [...keys, ...keys]) await rate.consume(key);
    expect(names).toEqual([...keys, ...keys].map((key) => nameOf(key)));
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
    for (const name of names) expect(name).toMatch(/^test-\d+-\d+:[\w-]{22}$/);
  });
});

describe('what is found in Redis', () => {
  /** As the script keeps it: units used, and when, in microseconds. */
  function packed(units: number, since: number): Buffer {
    const bytes = Buffer.alloc(16);
    bytes.writeDoubleLE(units, 0);
    bytes.writeDoubleLE(since, 8);
    return bytes;
  }

  test.each<[string, (key: string) => Promise<unknown>]>([
    ['words', (key) => client.set(key, 'not a number')],
    ['words as long as what is kept', (key) => client.set(key, 'sixteen letters!')],
    ['one number', (key) => client.set(key, packed(2, 1).subarray(0, 8))],
    ['more than two numbers', (key) => client.set(key, Buffer.concat([packed(3, Date.now() * 1_000), packed(1, 1)]))],
    ['numbers as text', (key) => client.set(key, `3 ${Date.now() * 1_000}`)],
    ['no numbers', (key) => client.set(key, packed(Number.NaN, Number.NaN))],
    ['infinity', (key) => client.set(key, packed(Number.POSITIVE_INFINITY, Date.now() * 1_000))],
    ['no time', (key) => client.set(key, packed(3, Number.POSITIVE_INFINITY))],
    ['a time before all time', (key) => client.set(key, packed(3, -1e9))],
    ['less than nothing', (key) => client.set(key, packed(-1e9, Date.now() * 1_000))],
    ['bytes', (key) => client.set(key, Buffer.from([0, 255, 1, 254]))],
    ['a list', (key) => client.rpush(key, 'a')],
  ])('%s count as nothing', async (_name, put) => {
    await put(nameOf('a'));
    const rate = limiter();
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 2 });
    expect(await rate.consume('a')).toMatchObject({ allowed: true, remaining: 1 });
    expect(await client.pttl(nameOf('a'))).toBeGreaterThan(0);
  });

  test('more than the burst is the burst: a limit that was lowered locks nobody out', async () => {
    await client.set(nameOf('a'), packed(1e308, (await serverMs()) * 1_000));
    const refused = await limiter().consume('a');
    expect(refused).toMatchObject({ allowed: false, remaining: 0, decidedBy: 'redis' });
    expect(refused.retryAfterMs).toBeLessThanOrEqual(day / 3);
  });

  test('a time ahead, since the clock of Redis was set back, is brought back by the first call, though it is refused', async () => {
    const short = { limit: 1, intervalMs: 1_000, burst: 3 };
    await client.set(nameOf('a'), packed(3, ((await serverMs()) + day) * 1_000));
    expect(await limiter(short).consume('a')).toMatchObject({ allowed: false, decidedBy: 'redis' });
    const kept = await client.getBuffer(nameOf('a'));
    expect(kept?.readDoubleLE(0)).toBe(3);
    expect(kept?.readDoubleLE(8)).toBeLessThanOrEqual((await serverMs()) * 1_000);
  });
});

describe('what a process remembers', () => {
  function counting() {
    const sent: string[] = [];
    const call = (command: string, ...args: (string | number)[]) => {
      sent.push(command);
      return client.call(command, ...args);
    };
    return { sent, seen: { status: 'ready', call } };
  }

  test('is enough to refuse what Redis would: a caller who hammers costs Redis nothing', async () => {
    const { sent, seen } = counting();
    const clock = new ManualClock();
    const rate = limiter({ client: seen, limit: 4, intervalMs: 4_000, clock });
    for (let call = 0; call < 4; call++) expect(await rate.consume('a')).toMatchObject({ decidedBy: 'redis' });
    const asked = sent.length;
    for (let call = 0; call < 100; call++) {
      expect(await rate.consume('a')).toEqual({
        allowed: false,
        remaining: 0,
        retryAfterMs: 1_000,
        decidedBy: 'memory',
      });
    }
    expect(await rate.consume('a', { cost: 2 })).toMatchObject({ retryAfterMs: 2_000, decidedBy: 'memory' });
    expect(sent.length).toBe(asked);
    expect(rate.stats()).toMatchObject({ allowed: 4, denied: 101, deniedFromMemory: 101 });
    // It asks again as soon as Redis may say yes, and not before.
    clock.jump(999);
    expect(await rate.consume('a')).toMatchObject({ decidedBy: 'memory', retryAfterMs: 1 });
    clock.jump(1);
    expect(await rate.consume('a')).toMatchObject({ decidedBy: 'redis' });
  });

  test('refuses by what others used too, but lets pass what costs less', async () => {
    const { sent, seen } = counting();
    const rates = [limiter({ client: seen }), limiter()];
    await rates[1]?.consume('a', { cost: 2.5 });
    expect(await rates[0]?.consume('a')).toMatchObject({ allowed: false, decidedBy: 'redis' });
    expect(await rates[0]?.consume('a')).toMatchObject({ allowed: false, decidedBy: 'memory' });
    const asked = sent.length;
    expect(await rates[0]?.consume('a', { cost: 0.5 })).toMatchObject({ allowed: true, decidedBy: 'redis' });
    expect(sent.length).toBe(asked + 1);
  });

  test('survives a Redis that loses its data: nobody who is known gets a second burst, in any process', async () => {
    const rates = [limiter(), limiter()];
    for (let call = 0; call < 2; call++) await rates[0]?.consume('a');
    await client.del(nameOf('a'));
    expect(await rates[0]?.consume('a')).toMatchObject({ allowed: true, remaining: 0, decidedBy: 'redis' });
    // The second process had not heard of the caller, and learns it from Redis, which learnt it from the first.
    expect(await rates[1]?.consume('a')).toMatchObject({ allowed: false, remaining: 0, decidedBy: 'redis' });
  });
});

test('alone it decides as a RateLimiter does, whatever the calls cost', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ limit: fc.integer({ min: 1, max: 7 }), burst: fc.integer({ min: 1, max: 9 }) }),
      fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 15, size: 'max' }),
      async (rate, costs) => {
        prefix = `test-${process.pid}-${tests++}:`;
        // Nothing comes back while it is tried.
        const shared = limiter({ ...rate, intervalMs: 1e15 });
        const own = new RateLimiter({ ...rate, intervalMs: 1e15, clock: new ManualClock() });
        for (const quarters of costs) {
          const cost = Math.min(quarters / 4, rate.burst);
          const { allowed, remaining } = own.tryConsume('a', { cost });
          expect(await shared.consume('a', { cost })).toMatchObject({ allowed, remaining });
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('short units and large bursts cost no precision', async () => {
  // Bytes: a unit takes a hundredth of a microsecond.
  const rate = limiter({ limit: 1e8, intervalMs: 1_000, burst: 1e9 });
  const began = await serverMs();
  let allowed = 0;
  for (let call = 0; call < 200; call++) {
    if ((await rate.consume('a', { cost: 3e7 })).allowed) allowed += 3e7;
  }
  const elapsed = (await serverMs()) - began;
  expect(allowed).toBeGreaterThanOrEqual(0.97e9);
  expect(allowed).toBeLessThanOrEqual(1e9 + (elapsed + 1) * 1e5);
});

test('sums of fractions do not refuse the last of a burst, and large numbers are told as they are', async () => {
  // Nothing comes back while it is tried.
  const tenths = limiter({ limit: 1, intervalMs: 1e20, burst: 0.3 });
  for (let call = 0; call < 3; call++)
    expect(await tenths.consume('a', { cost: 0.1 })).toMatchObject({ allowed: true });
  expect(await tenths.consume('a', { cost: 0.1 })).toMatchObject({ allowed: false });
  const bytes = limiter({ limit: 1e7, intervalMs: 1e20 });
  expect(await bytes.consume('b', { cost: 1_234_567 })).toMatchObject({ remaining: 8_765_433 });
});

test('an abort is answered at once', async () => {
  const controller = new AbortController();
  const reason = new Error('gone');
  const rate = limiter({ client: { status: 'ready', call: () => new Promise(() => {}) } });
  // One request may ask many times: more listeners than ten on its signal, and Node would warn of a leak.
  const waiting = Array.from({ length: 11 }, () => rate.consume('a', { signal: controller.signal }));
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1);
  controller.abort(reason);
  for (const call of waiting) await expect(call).rejects.toBe(reason);
  await expect(rate.consume('a', { signal: controller.signal })).rejects.toBe(reason);
  expect(rate.stats()).toMatchObject({ allowed: 0, denied: 0, available: true });
  await rate.close();
});

test('a secret gives other names, and limiters of one secret the same', async () => {
  const secret = 'a secret of the app';
  await limiter({ secret }).consume('a');
  expect(await client.keys(`${prefix}*`)).toEqual([nameOf('a', secret)]);
  expect(await limiter({ secret, limit: 1 }).consume('a')).toMatchObject({ allowed: false });
});

test('bad options are refused', async () => {
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
  expect(make({ secret: 'short' })).toThrow('secret must be at least 16 characters, got ');
  expect(make({ secret: 'short' })).not.toThrow('short');
  expect(make({ onError: 5 })).toThrow('onError must be a function, got 5');
  expect(make({ maxKeys: 0 })).toThrow('maxKeys must be an integer >= 1');
  await expect(limiter().consume(5 as never)).rejects.toThrow('key must be a string, got 5');
});

async function serverMs(): Promise<number> {
  const [seconds, microseconds] = await client.time();
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
}

test('answers that overtake each other take nothing from what is known', async () => {
  const answers: ((answer: unknown) => void)[] = [];
  const call = () => new Promise<unknown>((resolve) => answers.push(resolve));
  const rate = new RedisRateLimiter({
    client: { status: 'ready', call },
    limit: 2,
    intervalMs: 1e9,
    clock: new ManualClock(),
  });
  const calls = [rate.consume('a'), rate.consume('a')];
  answers[1]?.('2');
  expect(await calls[1]).toMatchObject({ allowed: true, remaining: 0 });
  answers[0]?.('1');
  await calls[0];
  // Both are known of: Redis need not be asked.
  expect(await rate.consume('a')).toMatchObject({ allowed: false, decidedBy: 'memory' });
  expect(answers.length).toBe(2);
  await rate.close();
});
