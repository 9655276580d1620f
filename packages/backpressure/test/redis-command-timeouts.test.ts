import { AsyncLocalStorage } from 'node:async_hooks';
import { RedisRateLimiter, type RedisRateLimiterOptions } from '@x/backpressure/redis';
import { ManualClock } from '@x/testkit';
import { expect, test, vi } from 'vitest';

// All commands share one timer; each still has its own time.

interface Sent {
  answer: (text: string) => void;
  fail: (error: unknown) => void;
}

/** A limiter over a client whose answers come when the test gives them. */
function setUp(options: Partial<RedisRateLimiterOptions> = {}) {
  const sent: Sent[] = [];
  const clock = new ManualClock();
  const client = {
    status: 'ready',
    call: () =>
      new Promise<unknown>((resolve, reject) => {
        sent.push({ answer: resolve, fail: reject });
      }),
  };
  const limiter = new RedisRateLimiter({
    client,
    limit: 100,
    intervalMs: 1e6,
    commandTimeoutMs: 50,
    retryAfterMs: 1e308,
    onUnavailable: 'allow',
    clock,
    ...options,
  });
  return { limiter, clock, sent };
}

const systemTimers = {
  setTimeout: (fn: () => void, ms: number) => setTimeout(fn, ms),
  clearTimeout: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
};

async function turns(): Promise<void> {
  for (let n = 0; n < 5; n++) await new Promise(setImmediate);
}

test('however many calls are under way there is one timer, and none is left behind', async () => {
  const { limiter, clock, sent } = setUp();
  const calls = Array.from({ length: 20 }, (_, n) => limiter.consume(`user-${n}`));
  await turns();
  expect(sent.length).toBe(20);
  expect(clock.pendingTimers).toBe(1);
  for (const { answer } of sent) answer('1');
  expect((await Promise.all(calls)).every(({ decidedBy }) => decidedBy === 'redis')).toBe(true);
  await limiter.close();
  expect(clock.pendingTimers).toBe(0);
});

test('each command has its own time, though the timer was armed for one before it', async () => {
  const errors: unknown[] = [];
  const { limiter, clock, sent } = setUp({ onError: (error) => errors.push(error) });
  const first = limiter.consume('a');
  await clock.advance(30);
  sent[0]?.answer('1');
  expect((await first).decidedBy).toBe('redis');
  const second = limiter.consume('b');
  await clock.advance(10);
  const third = limiter.consume('c');
  let settled = 0;
  for (const call of [second, third]) void call.then(() => settled++);
  await clock.advance(39.9);
  await turns();
  expect(settled).toBe(0);
  await clock.advance(0.1);
  await turns();
  expect(settled).toBe(1);
  expect((await second).decidedBy).toBe('allow');
  expect(errors).toMatchObject([
    { code: 'ERR_REDIS_UNAVAILABLE', message: '@x/backpressure: Redis did not answer in 50 ms' },
  ]);
  // Redis counts as away, yet this one was sent, and its answer comes in time.
  sent[2]?.answer('1');
  expect((await third).decidedBy).toBe('redis');
  await limiter.close();
});

test('an answer that comes too late changes nothing for those after it', async () => {
  const { limiter, clock, sent } = setUp();
  const late = limiter.consume('a');
  await clock.advance(20);
  const next = limiter.consume('b');
  await clock.advance(30);
  await turns();
  expect((await late).decidedBy).toBe('allow');
  sent[0]?.answer('1');
  await turns();
  await clock.advance(20);
  await turns();
  expect((await next).decidedBy).toBe('allow');
  await limiter.close();
});

test('an answer that is there when a busy event loop comes to the timer is not too late', async () => {
  const time = { now: 0, fire: () => {} };
  const clock = {
    now: () => time.now,
    setTimeout: (fn: () => void) => {
      time.fire = fn;
      return {};
    },
    clearTimeout: () => {},
  };
  const { limiter, sent } = setUp({ clock });
  const call = limiter.consume('a');
  await turns();
  time.now = 1_000;
  // Timers come before sockets.
  time.fire();
  sent[0]?.answer('1');
  await turns();
  expect((await call).decidedBy).toBe('redis');
  await limiter.close();
});

test('what is known counts from when Redis was asked, not from its answer', async () => {
  const { limiter, clock, sent } = setUp({ limit: 1, intervalMs: 10_000 });
  const first = limiter.consume('a');
  await clock.advance(40);
  sent[0]?.answer('1');
  await first;
  clock.jump(9_959);
  expect(await limiter.consume('a')).toMatchObject({ decidedBy: 'memory', retryAfterMs: 1 });
  clock.jump(1);
  const second = limiter.consume('a');
  await turns();
  sent[1]?.answer('1');
  expect(await second).toMatchObject({ allowed: true, decidedBy: 'redis' });
  await limiter.close();
});

test('one probe at a time looks for Redis, however many calls found it away, and however often it goes', async () => {
  const { limiter, clock, sent } = setUp({ retryAfterMs: 1_000 });
  for (let time = 0; time < 3; time++) {
    const calls = Array.from({ length: 5 }, (_, n) => limiter.consume(`user-${n}`));
    await turns();
    for (const { fail } of sent.splice(0)) fail(new Error('away'));
    await Promise.all(calls);
    expect(limiter.stats().available).toBe(false);
    for (let probe = 0; probe < 2; probe++) {
      await clock.advance(999);
      expect(sent.length).toBe(0);
      await clock.advance(1);
      expect(sent.length).toBe(1);
      const [asked] = sent.splice(0);
      if (probe === 0) asked?.fail(new Error('still away'));
      else asked?.answer('0');
      await turns();
    }
    expect(limiter.stats().available).toBe(true);
  }
  await limiter.close();
});

test('a client that was connected and connects anew is away; one that never was is asked', async () => {
  let asked = 0;
  const client = { status: 'connecting', call: async () => `${++asked}` };
  const { limiter } = setUp({ client });
  expect((await limiter.consume('a')).decidedBy).toBe('redis');
  client.status = 'ready';
  expect((await limiter.consume('a')).decidedBy).toBe('redis');
  client.status = 'connecting';
  expect((await limiter.consume('a')).decidedBy).toBe('allow');
  expect(asked).toBe(2);
  await limiter.close();
});

test('looking for Redis keeps no process alive', async () => {
  let unreferenced = 0;
  const clock = { now: () => 0, setTimeout: () => ({ unref: () => unreferenced++ }), clearTimeout: () => {} };
  const { limiter } = setUp({ client: { status: 'end', call: async () => '0' }, clock });
  expect((await limiter.consume('a')).decidedBy).toBe('allow');
  expect(unreferenced).toBe(1);
  await limiter.close();
});

test('a call that is closed over still has its time-out', async () => {
  const { limiter, clock } = setUp();
  const call = limiter.consume('a');
  await turns();
  await limiter.close();
  await clock.advance(50);
  await turns();
  expect((await call).decidedBy).toBe('allow');
  expect(clock.pendingTimers).toBe(0);
});

test('the timer keeps the process alive while a call waits, and not when none does', async () => {
  const timers: NodeJS.Timeout[] = [];
  const clock = {
    now: () => performance.now(),
    setTimeout: (fn: () => void, ms: number) => {
      const timer = setTimeout(fn, ms);
      timers.push(timer);
      return timer;
    },
    clearTimeout: systemTimers.clearTimeout,
  };
  const { limiter, sent } = setUp({ clock, commandTimeoutMs: 60_000 });
  const held: boolean[] = [];
  for (let n = 0; n < 2; n++) {
    const call = limiter.consume('a');
    await turns();
    held.push(timers[0]?.hasRef() === true);
    sent[n]?.answer('1');
    await call;
    held.push(timers[0]?.hasRef() === true);
  }
  expect(held).toEqual([true, false, true, false]);
  const both = [limiter.consume('a'), limiter.consume('b')];
  await turns();
  sent[2]?.answer('1');
  await both[0];
  expect(timers[0]?.hasRef()).toBe(true);
  sent[3]?.answer('1');
  await both[1];
  expect(timers.length).toBe(1);
  await limiter.close();
});

test('the probe runs in the context the limiter was made in, not in that of the caller who found Redis away', async () => {
  const caller = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  let answers = false;
  const client = {
    status: 'ready',
    call: () => {
      seen.push(caller.getStore());
      return answers ? Promise.resolve('0') : Promise.reject(new Error('away'));
    },
  };
  const clock = { ...systemTimers, now: () => performance.now() };
  const { limiter } = setUp({ client, clock, retryAfterMs: 1 });
  await caller.run('somebody', () => limiter.consume('a'));
  answers = true;
  await vi.waitFor(() => expect(limiter.stats().available).toBe(true));
  expect(seen).toEqual(['somebody', undefined]);
  await limiter.close();
});
