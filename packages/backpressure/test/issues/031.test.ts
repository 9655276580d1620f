import { ConcurrencyLimiter, type Priority } from '@x/backpressure';
import { expect, test } from 'vitest';

// Where enough critical work came to keep the queue full, all else made place for it before 128 permits were given, and each time the
// count began again: not one permit in any time.

test('lesser work gets a permit now and then, also where more important work takes its place again and again', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 10 });
  const served = { critical: 0, default: 0, sheddable: 0 };
  let endOne = (): void => {};
  const ask = (priority: Priority): void => {
    const work = () => {
      served[priority]++;
      return new Promise<void>((resolve) => {
        endOne = resolve;
      });
    };
    limiter.run(work, { priority }).catch(() => {});
  };
  for (let n = 0; n < 11; n++) ask('critical');
  for (let n = 0; n < 4_000; n++) {
    endOne();
    await new Promise((resolve) => setImmediate(resolve));
    // The place that has become free is its, until the next grant and the next critical call.
    ask(n % 2 === 0 ? 'default' : 'sheddable');
    endOne();
    await new Promise((resolve) => setImmediate(resolve));
    ask('critical');
    ask('critical');
  }
  expect(limiter.stats().queued).toBe(10);
  // Each was passed over 2,000 times, and is due after 511.
  expect(served).toMatchObject({ default: 3, sheddable: 3 });
  expect(served.critical).toBeGreaterThan(7_900);
});
