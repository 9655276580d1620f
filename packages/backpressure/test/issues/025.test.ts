import { ConcurrencyLimiter, type RunOptions } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// In a full queue in which more waited than could end in time, two were turned away for one newcomer; or one, and then the newcomer as
// well. And a caller who asked for more and more was made place for by others who had one waiting: they were never served.

/** A limiter whose work takes 50 ms and whose only permit is taken; and all that was refused. */
async function setUp(maxQueue: number) {
  const clock = new ManualClock();
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue, order: 'adaptive', clock });
  for (let n = 0; n < 20; n++) await limiter.run(() => clock.advance(50));
  const held = limiter.tryAcquire();
  const refused: string[] = [];
  const served: string[] = [];
  const ask = async (name: string, how: RunOptions): Promise<void> => {
    await limiter
      .run(() => void served.push(name), how)
      .catch((error) => void refused.push(`${name}: ${error.reason}`));
  };
  const end = async (): Promise<void> => {
    held?.release();
    await limiter.onIdle();
  };
  return { limiter, clock, ask, refused, served, end };
}

test('one makes place for one', async () => {
  const { limiter, ask, refused, end } = await setUp(4);
  for (const name of ['s1', 's2', 's3', 's4']) void ask(name, { priority: 'sheddable' });
  void ask('new', { deadlineMs: 100 });
  expect(limiter.stats().queued).toBe(4);
  await end();
  expect(refused).toEqual(['s1: shed']);
});

test('nobody makes place for a newcomer who is not taken in', async () => {
  const { limiter, ask, refused, end } = await setUp(4);
  void ask('s', { priority: 'sheddable' });
  for (const name of ['c1', 'c2', 'c3']) void ask(name, { priority: 'critical' });
  void ask('d', { deadlineMs: 100 });
  void ask('s2', { priority: 'sheddable', deadlineMs: 100 });
  await end();
  expect(limiter.stats().rejected).toMatchObject({ shed: 2, queue_full: 0 });
  expect(refused).toEqual(['s: shed', 's2: shed']);
});

test('nor does one who has as few waiting as the newcomer’s caller: that one’s own oldest goes', async () => {
  const { ask, refused, served, end } = await setUp(1_000);
  for (const name of ['a', 'b', 'c']) void ask(name, { key: name, deadlineMs: 150 });
  for (const name of ['c2', 'c3']) void ask(name, { key: 'c', deadlineMs: 150 });
  await end();
  expect(refused).toEqual(['c: shed', 'c2: shed']);
  expect(served).toEqual(['a', 'b', 'c3']);
});

test('a caller with more waiting than the newcomer’s makes place', async () => {
  const { ask, refused, end } = await setUp(1_000);
  for (const name of ['a1', 'a2', 'b1']) void ask(name, { key: name.charAt(0), deadlineMs: 150 });
  void ask('b2', { key: 'b', deadlineMs: 150 });
  void ask('c1', { key: 'c', deadlineMs: 150 });
  await end();
  expect(refused).toEqual(['a1: shed', 'b1: shed']);
});
