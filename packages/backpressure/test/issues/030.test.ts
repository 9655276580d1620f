import { ClientThrottle } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// Twenty calls at once of a dependency that is well: none had its answer yet, which was taken for a refusal, and 17 of them were refused here.

const setUp = () => {
  const clock = new ManualClock({ now: 0 });
  const throttle = new ClientThrottle({ clock, windowMs: 10_000, random: () => 0 });
  const ends: ((value: unknown) => void)[] = [];
  const call = (signal?: AbortSignal) =>
    throttle.run(() => new Promise((resolve) => ends.push(resolve)), { signal }).catch((error) => error);
  return { clock, throttle, ends, call };
};
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('calls that are made at once are all tried, also after a time without any', async () => {
  const { clock, throttle, ends, call } = setUp();
  for (const before of [0, 60_000]) {
    clock.jump(before);
    const answers = Array.from({ length: 20 }, (_, n) => call(n % 2 === 0 ? new AbortController().signal : undefined));
    await turn();
    for (const end of ends.splice(0)) end('well');
    expect(await Promise.all(answers)).toEqual(Array(20).fill('well'));
    expect(throttle.stats()).toMatchObject({ requests: 20, accepts: 20, rejectionRatio: 0 });
  }
});

test('what has had no answer for a tenth of the window hangs; that answers come then changes it', async () => {
  const { clock, throttle, ends, call } = setUp();
  clock.jump(999);
  const slow = Array.from({ length: 8 }, () => call());
  clock.jump(1_000);
  expect(throttle.stats().rejectionRatio).toBe(0);
  clock.jump(1);
  expect(throttle.stats().rejectionRatio).toBeCloseTo(8 / 9, 12);
  expect(await call()).toMatchObject({ reason: 'shed' });
  for (const end of ends) end('well');
  await Promise.all(slow);
  expect(throttle.stats()).toMatchObject({ requests: 9, accepts: 8, rejectionRatio: 0 });
});

test('an overload that is told counts at once, and one that was aborted never', async () => {
  const { clock, throttle, call } = setUp();
  const controller = new AbortController();
  const aborted = Array.from({ length: 5 }, () => call(controller.signal));
  await throttle.run(() => Promise.reject(Object.assign(new Error('busy'), { status: 503 }))).catch(() => {});
  expect(throttle.stats().rejectionRatio).toBeCloseTo(1 / 2, 12);
  clock.jump(1_500);
  controller.abort();
  await Promise.all(aborted);
  clock.jump(1_500);
  expect(throttle.stats()).toMatchObject({ requests: 1, accepts: 0 });
  expect(throttle.stats().rejectionRatio).toBeCloseTo(1 / 2, 12);
});
