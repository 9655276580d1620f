import { ConcurrencyLimiter, KneeLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

/** A clock that counts how often it is read, and work that takes what one says. */
function setUp(options: Partial<ConstructorParameters<typeof ConcurrencyLimiter>[0]> = {}) {
  const time = { now: 0, reads: 0 };
  const clock = {
    now: () => {
      time.reads++;
      return time.now;
    },
    setTimeout: () => undefined,
    clearTimeout: () => {},
  };
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 10_000, clock, ...options });
  const work = (ms: number) => async (): Promise<void> => {
    await null;
    time.now += ms;
  };
  return { limiter, time, work };
}

test('of very short calls one in eight is timed, and stands for the others', async () => {
  const { limiter, time, work } = setUp();
  for (let n = 0; n < 8_000; n++) await limiter.run(work(0.02));
  expect(time.reads).toBeLessThan(8_000 * 0.3);
  expect(limiter.stats().runMs).toBeGreaterThan(8_000 * 0.02 * 0.99);
  expect(limiter.stats().runMs).toBeLessThan(8_000 * 0.02 * 1.01);
});

test('the first ten are all timed, for nothing is known of them', async () => {
  const { limiter, time, work } = setUp();
  const before = time.reads;
  for (let n = 0; n < 10; n++) await limiter.run(work(0));
  expect(time.reads - before).toBe(20);
});

test('a burst of very short calls reads the clock once for all arrivals', async () => {
  const { limiter, time, work } = setUp();
  await Promise.all(Array.from({ length: 8_000 }, () => limiter.run(work(0.02))));
  expect(time.reads).toBeLessThan(8_000 * 0.3);
  const { queueWaitMs, completed } = limiter.stats();
  // Each waits for all before it.
  expect(queueWaitMs / completed).toBeGreaterThan(0.99 * 4_000 * 0.02);
  expect(queueWaitMs / completed).toBeLessThan(1.01 * 4_000 * 0.02);
});

test('calls that come in different turns wait from when each came', async () => {
  const { limiter, time } = setUp();
  const permit = limiter.tryAcquire();
  const first = limiter.acquire();
  await null;
  time.now = 30;
  const second = limiter.acquire();
  await null;
  time.now = 40;
  permit?.release();
  (await first).release();
  (await second).release();
  expect(limiter.stats().queueWaitMs).toBe(40 + 10);
});

test('calls that are not very short are all timed', async () => {
  const { limiter, work } = setUp();
  for (let n = 0; n < 100; n++) await limiter.run(work(1 + n));
  expect(limiter.stats().runMs).toBe((100 * 101) / 2);
});

test('when calls become long the next that is timed tells, and all after it are', async () => {
  const { limiter, work } = setUp();
  for (let n = 0; n < 100; n++) await limiter.run(work(0));
  for (let n = 0; n < 100; n++) await limiter.run(work(10));
  // At most seven of the long ones came before one was timed, or it stood for seven short ones.
  expect(limiter.stats().runMs).toBeGreaterThanOrEqual(930);
  expect(limiter.stats().runMs).toBeLessThanOrEqual(1_070);
});

test.each([
  ['an adaptive limit', { limit: new KneeLimit() }, {}],
  ['deadlines', {}, { deadlineMs: 100 }],
] as const)('with %s every call is timed, however short', async (_what, options, how) => {
  const { limiter, time, work } = setUp(options);
  for (let n = 0; n < 100; n++) await limiter.run(work(0.01), how);
  expect(time.reads).toBeGreaterThanOrEqual(200);
});

test('a deadline is looked at with the time as it is, though the call before was not timed', async () => {
  const { limiter, time, work } = setUp();
  for (let n = 0; n < 11; n++) await limiter.run(work(0));
  let done = (): void => {};
  const untimed = limiter.run(() => new Promise<void>((resolve) => (done = resolve)));
  const late = limiter.run(() => 'too late', { deadlineMs: 50 });
  time.now += 60;
  done();
  await untimed;
  await expect(late).rejects.toMatchObject({ reason: 'deadline' });
});

test('one who is refused is told of the queue, not of moves that were not timed', async () => {
  const { limiter, time, work } = setUp({ maxQueue: 0, random: () => 0 });
  // The last one is the one in eight that is timed; those after it are not.
  for (let n = 0; n < 11; n++) await limiter.run(work(0));
  time.now += 5_000;
  for (let n = 0; n < 2; n++) await limiter.run(work(0));
  limiter.tryAcquire();
  await expect(limiter.run(work(0))).rejects.toMatchObject({ retryAfterMs: 100 });
});

test('calls that waited and are not timed settle as their work does, and give their permits back', async () => {
  const { limiter } = setUp({ limit: 3 });
  const failure = new Error('its own');
  const works = [
    (n: number) => n,
    async (n: number) => n,
    (_n: number): number => {
      throw failure;
    },
    (_n: number) => Promise.reject<number>(failure),
  ];
  const outcomes = await Promise.allSettled(
    Array.from({ length: 800 }, (_, n) => limiter.run(() => (works[n % 4] as (typeof works)[0])(n))),
  );
  outcomes.forEach((outcome, n) => {
    if (n % 4 < 2) expect(outcome).toEqual({ status: 'fulfilled', value: n });
    else expect(outcome).toEqual({ status: 'rejected', reason: failure });
  });
  expect(limiter.stats()).toMatchObject({ inFlight: 0, queued: 0, admitted: 800, completed: 800 });
});
