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
