import { type AdaptiveLimit, GradientLimit, VegasLimit } from '@x/backpressure';
import { expect, test } from 'vitest';

// A probe's two windows kept the end of the last probe's: the first window of every later one was over as soon as it had its ten calls.

const windowMs = 200;
const options = { windowMs, maxLimit: 100_000 };
type Strategy = AdaptiveLimit & { stalled(): void };

/** All of the limit is used, and nothing waits: it grows with every window, and is lowered to measure now and then. When it became what. */
function changes(limit: Strategy, afterCall: (at: number) => void = () => {}): { at: number; to: number }[] {
  const seen = [{ at: 0, to: limit.limit }];
  for (let at = 2; at < 250_000; at += 2) {
    limit.record(at, 10, limit.limit, false);
    afterCall(at);
    if (limit.limit !== seen.at(-1)?.to) seen.push({ at, to: limit.limit });
  }
  return seen;
}

/** Of each time it was lowered: for how long, and how long it was until the limit moved again. */
function probes(seen: { at: number; to: number }[]) {
  return seen.flatMap((lowered, n) => {
    const [before, back, next] = [seen[n - 1], seen[n + 1], seen[n + 2]];
    if (before === undefined || back === undefined || next === undefined || lowered.to > before.to) return [];
    return [{ lastedMs: back.at - lowered.at, restedMs: next.at - back.at }];
  });
}

test.each<[string, () => Strategy]>([
  ['GradientLimit', () => new GradientLimit(options)],
  ['VegasLimit', () => new VegasLimit(options)],
])('every probe of %s lasts two windows, and the next window begins after it', (_name, make) => {
  const all = probes(changes(make()));
  expect(all.length).toBeGreaterThan(3);
  for (const { lastedMs, restedMs } of all) {
    // A window begins with its first call, 2 ms later.
    expect(lastedMs).toBe(2 + 2 * windowMs);
    expect(restedMs).toBe(2 + windowMs);
  }
});

test.each<[string, () => Strategy]>([
  ['GradientLimit', () => new GradientLimit(options)],
  ['VegasLimit', () => new VegasLimit(options)],
])('what a probe of %s that was given up has seen is in no window', (_name, make) => {
  const limit = make();
  let [highest, lowered] = [limit.limit, 0];
  const all = probes(
    changes(limit, () => {
      highest = Math.max(highest, limit.limit);
      lowered = limit.limit < highest ? lowered + 1 : 0;
      // In its second window.
      if (lowered === (1.5 * windowMs) / 2) limit.stalled();
    }),
  );
  expect(all.length).toBeGreaterThan(3);
  for (const { lastedMs, restedMs } of all) {
    expect(lastedMs).toBeLessThan(2 * windowMs);
    expect(restedMs).toBe(2 + windowMs);
  }
});
