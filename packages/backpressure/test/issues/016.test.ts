import { GradientLimit, VegasLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

// A probe's two windows kept the end of the last probe's: the first window of every later one was over as soon as it had its ten calls.

test.each([
  ['GradientLimit', (windowMs: number) => new GradientLimit({ windowMs })],
  ['VegasLimit', (windowMs: number) => new VegasLimit({ windowMs })],
])('every probe of %s lasts two windows, also after one that was given up', (_name, make) => {
  for (const windowMs of [100, 250]) {
    const limit = make(windowMs);
    const lasted: number[] = [];
    let since: number | undefined;
    for (let now = 0; lasted.length < 5 && now < 500_000; now += 2) {
      const before = limit.limit;
      limit.record(now, 10, before, false);
      // The third is given up in its second window.
      if (lasted.length === 2 && since !== undefined && now - since > 1.5 * windowMs) limit.stalled();
      if (since === undefined && limit.limit < before / 2) since = now;
      else if (since !== undefined && limit.limit > before) {
        lasted.push(now - since);
        since = undefined;
      }
    }
    // The first window begins with the first call that began under the lowered limit, 2 ms later.
    const two = 2 + 2 * windowMs;
    expect(lasted).toEqual([two, two, expect.any(Number), two, two]);
    expect(lasted[2]).toBeLessThan(two);
  }
});
