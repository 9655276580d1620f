import { ConcurrencyLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';

test('what could not end in time any more is not begun, though the timer of its deadline has not had its turn', async () => {
  let now = 0;
  // A busy event loop: promise jobs run, timers do not.
  const clock = { now: () => now, setTimeout: () => undefined, clearTimeout: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: 1, clock });
  const takes20Ms = async (): Promise<void> => {
    now += 20;
  };
  for (let n = 0; n < 10; n++) await limiter.run(takes20Ms);
  const permit = limiter.tryAcquire();
  const late = limiter.run(takes20Ms, { deadlineMs: 50 });
  const inTime = limiter.run(takes20Ms, { deadlineMs: 70 });
  now += 40;
  permit?.release();
  await expect(late).rejects.toMatchObject({ reason: 'deadline' });
  await expect(inTime).resolves.toBeUndefined();
});

/** One permit, taken; work that takes 10 ms of late; so five who give 50 ms can wait. */
async function standing({
  order = 'adaptive',
  deadlineMs = 50,
}: {
  order?: 'adaptive' | 'fifo';
  deadlineMs?: number;
} = {}) {
  let now = 0;
  const clock = { now: () => now, setTimeout: () => undefined, clearTimeout: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: 1, order, clock });
  const takes10Ms = async (): Promise<void> => {
    now += 10;
  };
  for (let n = 0; n < 10; n++) await limiter.run(takes10Ms);
  const permit = limiter.tryAcquire();
  const begun: string[] = [];
  const refused: string[] = [];
  const ask = (name: string, priority?: 'critical') =>
    limiter
      .run(async () => void begun.push(name), { deadlineMs, ...(priority && { priority }) })
      .catch((error) => refused.push(`${name}: ${error.reason}`));
  return { limiter, ask, begun, refused, letGo: () => permit?.release(), settled: () => new Promise(setImmediate) };
}

test('more than can end within the deadline do not wait: the oldest hears of it at once, and then the newest go first', async () => {
  const { ask, begun, refused, letGo, settled } = await standing();
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => ask(name));
  await settled();
  expect(refused).toEqual([]);
  all.push(ask('f'));
  await settled();
  expect(refused).toEqual(['a: shed']);
  letGo();
  await Promise.all(all);
  expect(begun).toEqual(['f', 'e', 'd', 'c', 'b']);
});

test.each<[string, Parameters<typeof standing>[0], number]>([
  ['a part of one more counts as one', { deadlineMs: 51 }, 6],
  ['in the order in which they came all may wait, for their deadlines tell', { order: 'fifo' }, 20],
])('%s', async (_what, how, most) => {
  const { ask, refused, letGo, settled } = await standing(how);
  const all = Array.from({ length: most }, (_, n) => ask(`${n}`));
  await settled();
  expect(refused).toEqual([]);
  letGo();
  await Promise.all(all);
});

test('they go in order again once nobody has waited', async () => {
  const { limiter, ask, begun, letGo } = await standing();
  const all = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => ask(name));
  letGo();
  await Promise.all(all);
  const again = limiter.tryAcquire();
  const later = ['g', 'h', 'i'].map((name) => ask(name));
  again?.ignore();
  await Promise.all(later);
  expect(begun.slice(5)).toEqual(['g', 'h', 'i']);
});

test('as many as can end within the deadline are served in order', async () => {
  const { ask, begun, letGo } = await standing();
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => ask(name));
  letGo();
  await Promise.all(all);
  expect(begun).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('nobody more important makes place for a newcomer, and critical work keeps its order while others are turned away', async () => {
  const { ask, begun, refused, letGo, settled } = await standing();
  const all = [ask('critical 1', 'critical'), ask('critical 2', 'critical'), ask('a'), ask('b'), ask('c')];
  all.push(ask('critical 3', 'critical'));
  await settled();
  expect(refused).toEqual(['a: shed']);
  all.push(ask('critical 4', 'critical'), ask('critical 5', 'critical'), ask('d'));
  await settled();
  expect(refused).toEqual(['a: shed', 'b: shed', 'c: shed', 'd: shed']);
  letGo();
  await Promise.all(all);
  expect(begun).toEqual(['critical 1', 'critical 2', 'critical 3', 'critical 4', 'critical 5']);
});

test('what has just as much time left as it may need is begun', async () => {
  let now = 0;
  const clock = { now: () => now, setTimeout: () => undefined, clearTimeout: () => {} };
  const limiter = new ConcurrencyLimiter({ limit: 1, clock });
  const takes20Ms = async (): Promise<void> => {
    now += 20;
  };
  // The first calls are known as they were.
  for (let n = 0; n < 3; n++) await limiter.run(takes20Ms);
  const permit = limiter.tryAcquire();
  const just = limiter.run(takes20Ms, { deadlineMs: 60 });
  now += 40;
  permit?.ignore();
  await expect(just).resolves.toBeUndefined();
});
