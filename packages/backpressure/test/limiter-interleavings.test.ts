import { ConcurrencyLimiter, type Permit, type Priority } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

type Step =
  | {
      do: 'run';
      how: 'value' | 'error' | 'throw' | 'never-listens';
      signal: boolean;
      timeoutMs: number | undefined;
      deadlineMs: number | undefined;
      priority: Priority;
      key: string | undefined;
    }
  | { do: 'acquire'; signal: boolean }
  | { do: 'tryAcquire' }
  | { do: 'end'; which: number }
  | { do: 'release'; which: number; times: number }
  | { do: 'abort'; which: number }
  | { do: 'limit'; limit: number }
  | { do: 'wait'; ms: number }
  | { do: 'turn' };

const maybe = (ms: number) => fc.option(fc.integer({ min: 0, max: ms }), { nil: undefined });
const which = fc.nat(50);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('run' as const),
      how: fc.constantFrom('value' as const, 'error' as const, 'throw' as const, 'never-listens' as const),
      signal: fc.boolean(),
      timeoutMs: maybe(30),
      deadlineMs: maybe(60),
      priority: fc.constantFrom<Priority>('critical', 'default', 'sheddable'),
      key: fc.constantFrom(undefined, 'a', 'b'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('acquire' as const), signal: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('tryAcquire' as const) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('end' as const), which }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('release' as const), which, times: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('abort' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('limit' as const), limit: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('turn' as const) }) },
);

test('permits never exceed the limit and never leak, and everyone is answered once, under any interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        limit: fc.integer({ min: 1, max: 4 }),
        maxQueue: fc.integer({ min: 0, max: 6 }),
        order: fc.constantFrom('fifo' as const, 'lifo' as const, 'adaptive' as const),
      }),
      fc.array(step, { maxLength: 60, size: 'max' }),
      async (options, steps) => {
        const clock = new ManualClock();
        const limiter = new ConcurrencyLimiter({ ...options, clock, queueTimeoutMs: 50 });
        const violations: string[] = [];
        let running = 0;
        let allowed = options.limit;
        let asked = 0;
        let answered = 0;
        let started = 0;
        const ends: (() => void)[] = [];
        const permits: { permit: Permit; held: boolean }[] = [];
        const controllers: AbortController[] = [];

        const enter = (): void => {
          running++;
          started++;
          // Noted, not thrown: what is thrown inside work is only a failure of the work. A limit that was made smaller is
          // reached as work ends; nothing starts above it.
          if (running > allowed) violations.push(`${running} run, ${allowed} are allowed`);
        };
        const hold = (permit: Permit | undefined): void => {
          if (permit === undefined) return;
          enter();
          permits.push({ permit, held: true });
        };
        const answer = (): void => void answered++;
        const signalFor = (wanted: boolean): AbortSignal | undefined => {
          if (!wanted) return undefined;
          const controller = new AbortController();
          controllers.push(controller);
          return controller.signal;
        };

        for (const each of steps) {
          switch (each.do) {
            case 'run': {
              const { how, signal: wanted, ...rest } = each;
              const signal = signalFor(wanted);
              asked++;
              limiter
                .run(
                  (context) => {
                    if (signal?.aborted) violations.push('started for one who had gone');
                    enter();
                    if (how === 'throw') {
                      running--;
                      throw new Error('sync');
                    }
                    return new Promise<void>((resolve, reject) => {
                      const end = (): void => {
                        running--;
                        if (how === 'error') reject(new Error('late'));
                        else resolve();
                      };
                      ends.push(end);
                      if (how !== 'never-listens') {
                        context.signal.addEventListener('abort', () => {
                          const at = ends.indexOf(end);
                          if (at !== -1) ends.splice(at, 1)[0]?.();
                        });
                      }
                    });
                  },
                  { ...rest, signal },
                )
                .then(answer, answer);
              break;
            }
            case 'acquire':
              asked++;
              limiter.acquire({ signal: signalFor(each.signal) }).then((permit) => {
                answer();
                hold(permit);
              }, answer);
              break;
            case 'tryAcquire':
              hold(limiter.tryAcquire());
              break;
            case 'end':
              if (ends.length > 0) ends.splice(each.which % ends.length, 1)[0]?.();
              break;
            case 'release': {
              const held = permits[each.which % Math.max(1, permits.length)];
              if (held === undefined) break;
              if (held.held) running--;
              held.held = false;
              for (let n = 0; n < each.times; n++) held.permit.release();
              break;
            }
            case 'abort':
              controllers[each.which % Math.max(1, controllers.length)]?.abort(new Error('gone'));
              break;
            case 'limit':
              // Grants under the old limit may still be on their way to those who were given them.
              await clock.advance(0);
              allowed = each.limit;
              limiter.setLimit(each.limit);
              break;
            case 'wait':
              await clock.advance(each.ms);
              break;
            case 'turn':
              await Promise.resolve();
              break;
          }
          const stats = limiter.stats();
          expect(stats.queued).toBeLessThanOrEqual(options.maxQueue);
          expect(stats.admitted).toBe(stats.completed + stats.inFlight);
        }

        for (let round = 0; limiter.stats().inFlight + limiter.stats().queued > 0; round++) {
          expect(round).toBeLessThan(200);
          for (const end of ends.splice(0)) end();
          for (const held of permits) {
            if (held.held) running--;
            held.held = false;
            held.permit.release();
          }
          await clock.advance(0);
        }
        await clock.advance(0);
        expect(violations).toEqual([]);
        expect(answered).toBe(asked);
        expect(running).toBe(0);
        expect(clock.pendingTimers).toBe(0);
        const stats = limiter.stats();
        expect(stats).toMatchObject({ inFlight: 0, queued: 0, abandonedInFlight: 0 });
        // Those who left between the grant and the start had a permit, and did nothing with it.
        expect(stats.admitted).toBeGreaterThanOrEqual(started);
        const free: (Permit | undefined)[] = Array.from({ length: stats.limit + 1 }, () => limiter.tryAcquire());
        expect(free.filter((permit) => permit !== undefined).length).toBe(stats.limit);
      },
    ),
    { numRuns: 300 },
  );
});

test('the queue keeps its order, whoever leaves it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('fifo' as const, 'lifo' as const),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 30, size: 'max' }),
      async (order, stays) => {
        const limiter = new ConcurrencyLimiter({ limit: 1, order });
        const permit = limiter.tryAcquire();
        const seen: number[] = [];
        const controllers = stays.map(() => new AbortController());
        const runs = stays.map((_, n) =>
          limiter.run(() => void seen.push(n), { signal: controllers[n]?.signal }).catch(() => {}),
        );
        for (const [n, stay] of stays.entries()) if (!stay) controllers[n]?.abort();
        permit?.release();
        await Promise.all(runs);
        const expected = stays.flatMap((stay, n) => (stay ? [n] : []));
        expect(seen).toEqual(order === 'fifo' ? expected : expected.reverse());
      },
    ),
    { numRuns: 100 },
  );
});
