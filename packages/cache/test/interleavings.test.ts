import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

/** What callers and writers do to one key, in any order, while loads end in any order. */
type Step =
  | { what: 'read'; leaves: boolean }
  | { what: 'finish'; index: number; fails: boolean }
  | { what: 'write' }
  | { what: 'invalidate'; how: 'delete' | 'tag' | 'pattern' | 'clear' | 'expire' }
  | { what: 'leave'; index: number }
  | { what: 'wait' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('read' as const), leaves: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({ what: fc.constant('finish' as const), index: fc.nat(5), fails: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('write' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('invalidate' as const),
      how: fc.constantFrom('delete', 'tag', 'pattern', 'clear', 'expire'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('leave' as const), index: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('wait' as const) }) },
);

test('whatever the order of loads, failures, leaving callers and invalidations: nothing old is kept, and no load is made twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
      const clock = new ManualClock();
      const cache = new Cache({ ttlMs: 1_000_000, clock });
      /** The source's version, and the oldest version that may be in the cache since the last invalidation. */
      let version = 0;
      let oldest = 0;
      const loads: { seen: number; signal: AbortSignal; end: (fails: boolean) => void; ended: boolean }[] = [];
      const leavers: AbortController[] = [];
      const calls: Promise<void>[] = [];
      const loader = ({ signal }: { signal: AbortSignal }) =>
        new Promise<number>((resolve, reject) => {
          const load = {
            seen: version,
            signal,
            ended: false,
            end: (fails: boolean) => {
              load.ended = true;
              if (fails) reject(new Error(`load of ${load.seen}`));
              else resolve(load.seen);
            },
          };
          // One that is still wanted and may still be kept is never joined by a second.
          expect(loads.filter((other) => !other.ended && !other.signal.aborted && other.seen >= oldest)).toEqual([]);
          loads.push(load);
        });

      for (const now of steps) {
        if (now.what === 'read') {
          const atLeast = oldest;
          const caller = new AbortController();
          if (now.leaves) leavers.push(caller);
          const call = cache.getOrSet('k', loader, { tags: ['t'], ...(now.leaves && { signal: caller.signal }) });
          // Whoever asks after an invalidation gets nothing from before it.
          calls.push(
            call.then(
              (got) => expect(got).toBeGreaterThanOrEqual(atLeast),
              (error: Error) => expect(error.message).toMatch(/load of|left/),
            ),
          );
        } else if (now.what === 'finish') {
          const running = loads.filter((load) => !load.ended);
          running[now.index % running.length]?.end(now.fails);
        } else if (now.what === 'leave') {
          leavers[now.index % leavers.length]?.abort(new Error('left'));
        } else if (now.what === 'wait') {
          await clock.advance(0);
        } else {
          oldest = ++version;
          if (now.what === 'write') void cache.set('k', version, { tags: ['t'] });
          else if (now.how === 'delete') void cache.delete('k');
          else if (now.how === 'tag') void cache.deleteByTag('t');
          else if (now.how === 'pattern') void cache.deleteByPattern('k*');
          else if (now.how === 'expire') void cache.expire('k');
          else void cache.clear();
        }
        const kept = cache.peek<number>('k');
        if (kept !== undefined) expect(kept).toBeGreaterThanOrEqual(oldest);
      }
      for (const load of loads) load.end(false);
      await clock.advance(0);
      for (const load of loads) load.end(false);
      await Promise.all(calls);
      expect(cache.peek<number>('k') ?? oldest).toBeGreaterThanOrEqual(oldest);
      await cache.close();
    }),
    { numRuns: 300 },
  );
});
