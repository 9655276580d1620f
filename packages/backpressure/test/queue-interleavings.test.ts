import { BackpressureQueue } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

type Step =
  | { do: 'enqueue'; timeoutMs: number; signal: boolean }
  | { do: 'dequeue'; signal: boolean }
  | { do: 'loop' }
  | { do: 'leave'; which: number }
  | { do: 'abort'; which: number }
  | { do: 'wait'; ms: number }
  | { do: 'turn' }
  | { do: 'close' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('enqueue' as const), timeoutMs: fc.nat(30), signal: fc.boolean() }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('dequeue' as const), signal: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('loop' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which: fc.nat(20) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat(50) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('turn' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const) }) },
);

test('what was accepted is taken exactly once, in order, and what was not accepted never, under any interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 80, size: 'max' }),
      async (maxSize, steps) => {
        const clock = new ManualClock();
        const queue = new BackpressureQueue<number>({ maxSize, clock });
        const accepted = new Set<number>();
        const taken: number[] = [];
        let refused = 0;
        let open = 0;
        let items = 0;
        const controllers: AbortController[] = [];
        const iterators: AsyncIterator<number, undefined>[] = [];
        const signalFor = (wanted: boolean): AbortSignal | undefined => {
          if (!wanted) return undefined;
          const controller = new AbortController();
          controllers.push(controller);
          return controller.signal;
        };

        for (const each of steps) {
          switch (each.do) {
            case 'enqueue': {
              const item = items++;
              open++;
              queue.enqueue(item, { timeoutMs: each.timeoutMs, signal: signalFor(each.signal) }).then(
                (yes) => {
                  open--;
                  if (yes) accepted.add(item);
                  else refused++;
                },
                () => open--,
              );
              break;
            }
            case 'dequeue':
              open++;
              queue.dequeue({ signal: signalFor(each.signal) }).then(
                (item) => {
                  open--;
                  taken.push(item);
                },
                () => open--,
              );
              break;
            case 'loop': {
              const iterator = queue[Symbol.asyncIterator]();
              iterators.push(iterator);
              open++;
              void iterator.next().then((next) => {
                open--;
                if (!next.done) taken.push(next.value);
              });
              break;
            }
            case 'leave':
              void iterators[each.which % Math.max(1, iterators.length)]?.return?.();
              break;
            case 'abort':
              controllers[each.which % Math.max(1, controllers.length)]?.abort(new Error('gone'));
              break;
            case 'wait':
              await clock.advance(each.ms);
              break;
            case 'turn':
              await Promise.resolve();
              break;
            case 'close':
              if (items % 5 === 0) await queue.close();
              break;
          }
          expect(queue.size).toBeLessThanOrEqual(maxSize);
        }

        await queue.close();
        await clock.advance(0);
        for await (const item of queue) taken.push(item);
        expect(open).toBe(0);
        expect(new Set(taken).size).toBe(taken.length);
        expect(taken.toSorted((a, b) => a - b)).toEqual([...accepted].sort((a, b) => a - b));
        expect(clock.pendingTimers).toBe(0);
        expect(queue.stats()).toMatchObject({
          size: 0,
          enqueued: accepted.size,
          dequeued: accepted.size,
          rejected: refused,
        });
      },
    ),
    { numRuns: 400 },
  );
});
