import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

test('timers fire in order of due time, equal ones in order of creation', async () => {
  const clock = new ManualClock();
  const fired: string[] = [];
  clock.setTimeout(() => fired.push('b'), 20);
  clock.setTimeout(() => fired.push('a'), 10);
  clock.setTimeout(() => fired.push('c'), 20);
  await clock.advance(20);
  expect(fired).toEqual(['a', 'b', 'c']);
});

test('a timer that a timer sets fires in the same advance if it falls due', async () => {
  const clock = new ManualClock({ now: 0 });
  const fired: number[] = [];
  clock.setTimeout(() => {
    fired.push(clock.now());
    clock.setTimeout(() => fired.push(clock.now()), 5);
  }, 10);
  await clock.advance(15);
  expect(fired).toEqual([10, 15]);
});

test('promise callbacks run between timers', async () => {
  const clock = new ManualClock();
  const log: string[] = [];
  clock.setTimeout(() => void Promise.resolve().then(() => log.push('promise')), 1);
  clock.setTimeout(() => log.push('timer'), 2);
  await clock.advance(2);
  expect(log).toEqual(['promise', 'timer']);
});

test('a cleared timer does not fire, and clearing nothing is harmless', async () => {
  const clock = new ManualClock();
  let fired = false;
  const timer = clock.setTimeout(() => {
    fired = true;
  }, 1);
  clock.clearTimeout(timer);
  clock.clearTimeout(undefined);
  await clock.advance(10);
  expect(fired).toBe(false);
  expect(clock.pendingTimers).toBe(0);
});

test('the wall clock follows, and can be stepped apart', async () => {
  const clock = new ManualClock({ now: 0, wallNow: 5_000 });
  await clock.advance(100);
  clock.stepWall(-1_000);
  expect([clock.now(), clock.wallNow()]).toEqual([100, 4_100]);
});

test('a jump moves time and leaves due timers waiting for the next advance', async () => {
  const clock = new ManualClock({ now: 0 });
  let firedAt = -1;
  clock.setTimeout(() => {
    firedAt = clock.now();
  }, 10);
  clock.jump(50);
  expect(firedAt).toBe(-1);
  await clock.advance(0);
  expect(firedAt).toBe(50);
});
