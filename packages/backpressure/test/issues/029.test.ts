import { ConcurrencyLimiter, type Priority } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

// Of all grants from a queue that stands one in eight went to the oldest of the caller whose turn it was. With two, four or eight callers, or
// with lesser work that gets one permit in 128, that was always the same caller: the oldest of the others waited for ever.

test.each<[string, readonly { key: string; priority?: Priority }[], number]>([
  ['two callers', [{ key: 'a' }, { key: 'b' }], 400],
  ['eight callers', [...'abcdefgh'].map((key) => ({ key })), 800],
  [
    'lesser work',
    [
      { key: 'a', priority: 'critical' },
      { key: 'b', priority: 'default' },
    ],
    2 * 8 * 5 * 128,
  ],
])('of %s who ask again when they are answered, none has one that waits for ever', async (_who, callers, grants) => {
  const clock = new ManualClock();
  const limiter = new ConcurrencyLimiter({
    limit: 1,
    order: 'adaptive',
    queueTimeoutMs: Number.POSITIVE_INFINITY,
    clock,
  });
  let granted = 0;
  const askedAt = new Map<string, number>();
  const askFor = async (how: (typeof callers)[number], name: string): Promise<void> => {
    while (granted < grants) {
      askedAt.set(name, granted);
      await limiter.run(async () => {
        granted++;
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 10));
      }, how);
    }
  };
  for (const how of callers) for (const n of [1, 2, 3, 4, 5]) void askFor(how, `${how.key}${n}`);
  while (granted < grants) await clock.advance(10);
  const waitingLong = [...askedAt].filter(([, at]) => at < grants / 4).map(([name]) => name);
  expect(waitingLong).toEqual([]);
  await clock.advance(1_000);
  await limiter.onIdle();
});
