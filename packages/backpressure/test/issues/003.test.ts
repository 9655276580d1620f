import { ClientThrottle } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// An aborted call was taken back from the slice of the abort, not from that of the call: once its own had been
// forgotten the count went below nothing, and hid as many calls of later.

function setUp() {
  const clock = new ManualClock({ now: 0 });
  const throttle = new ClientThrottle({ clock, windowMs: 1_000, random: () => 0.99 });
  const hang = () => {
    const controller = new AbortController();
    const call = throttle.run(() => new Promise(() => {}), { signal: controller.signal }).catch(() => {});
    return async () => {
      controller.abort();
      await call;
    };
  };
  return { clock, throttle, hang };
}

test('a call that is aborted after its window takes nothing from the calls of now', async () => {
  const { clock, throttle, hang } = setUp();
  const abort = hang();
  clock.jump(5_000);
  await abort();
  expect(throttle.stats().requests).toBe(0);
  await throttle.run(() => 1);
  expect(throttle.stats()).toMatchObject({ requests: 1, accepts: 1 });
});

test('one that is aborted within its window is as if it had not been made', async () => {
  const { clock, throttle, hang } = setUp();
  const abort = hang();
  clock.jump(500);
  await throttle.run(() => 1);
  await abort();
  expect(throttle.stats().requests).toBe(1);
  // The aborted call's slice is forgotten first, and must not be taken off once more.
  clock.jump(500);
  expect(throttle.stats().requests).toBe(1);
  clock.jump(500);
  expect(throttle.stats().requests).toBe(0);
});
