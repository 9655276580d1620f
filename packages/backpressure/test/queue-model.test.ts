import { BackpressureQueue } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

type Told = string;

/** What the queue promises, written down as plainly as it goes: lists, and what each call is told. */
class Model {
  readonly items: number[] = [];
  readonly producers: { call: number; item: number; until: number }[] = [];
  readonly consumers: { call: number; ended: Told }[] = [];
  readonly told = new Map<number, Told>();
  readonly maxSize: number;
  closed = false;

  constructor(maxSize: number) {
    this.maxSize = maxSize;
  }

  enqueue(call: number, item: number, until: number, now: number): void {
    if (this.closed) this.told.set(call, 'false');
    else if (this.items.length < this.maxSize) {
      this.told.set(call, 'true');
      const consumer = this.consumers.shift();
      if (consumer === undefined) this.items.push(item);
      else this.told.set(consumer.call, `item ${item}`);
    } else if (until === now) this.told.set(call, 'false');
    else this.producers.push({ call, item, until });
  }

  /** `ended`: what one who waits is told once nothing more can come. */
  dequeue(call: number, ended: Told): void {
    const item = this.items.shift();
    if (item !== undefined) {
      this.told.set(call, `item ${item}`);
      const producer = this.producers.shift();
      if (producer !== undefined) {
        this.told.set(producer.call, 'true');
        this.items.push(producer.item);
      }
    } else if (this.closed) this.told.set(call, ended);
    else this.consumers.push({ call, ended });
  }

  leave(call: number, told: Told): void {
    for (const waiting of [this.producers, this.consumers]) {
      const at = waiting.findIndex((each) => each.call === call);
      if (at === -1) continue;
      waiting.splice(at, 1);
      this.told.set(call, told);
    }
  }

  passTo(now: number): void {
    for (const { call, until } of [...this.producers]) if (until <= now) this.leave(call, 'false');
  }

  close(): void {
    this.closed = true;
    for (const { call } of [...this.producers]) this.leave(call, 'false');
    for (const { call, ended } of [...this.consumers]) this.leave(call, ended);
  }
}

const weighted = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary });
type Step = { do: 'enqueue' | 'dequeue' | 'loop' | 'leave' | 'abort' | 'wait' | 'turn' | 'close'; n: number };
const step = (what: Step['do']) => fc.record({ do: fc.constant(what), n: fc.nat(60) });

test('each call is told what a plain model of the queue tells it, in any order of calls, time-outs, aborts and loops that are left', async () => {
  const steps = fc.array(
    fc.oneof(
      weighted(9, step('enqueue')),
      weighted(5, step('dequeue')),
      weighted(4, step('loop')),
      weighted(1, step('leave')),
      weighted(4, step('abort')),
      weighted(3, step('wait')),
      weighted(2, step('turn')),
      weighted(1, step('close')),
    ),
    { maxLength: 120, size: 'max' },
  );
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), steps, fc.boolean(), async (maxSize, given, mayClose) => {
      const clock = new ManualClock({ now: 0 });
      const queue = new BackpressureQueue<number>({ maxSize, clock });
      const model = new Model(maxSize);
      const told = new Map<number, Told>();
      const controllers = new Map<number, AbortController>();
      const loops: { iterator: AsyncIterator<number, undefined>; calls: number[]; left: boolean }[] = Array.from(
        { length: 3 },
        () => ({ iterator: queue[Symbol.asyncIterator](), calls: [], left: false }),
      );
      let calls = 0;
      const tell = (call: number, promise: Promise<unknown>, show: (value: unknown) => Told): void => {
        promise.then(
          (value) => told.set(call, show(value)),
          (error: { code?: string; message: string }) => told.set(call, error.code ?? error.message),
        );
      };

      for (const { do: what, n } of given) {
        const call = calls++;
        const controller = new AbortController();
        if (what === 'enqueue') {
          // Distinct, so that no two producers' times run out at one moment.
          const timeoutMs = n < 10 ? 0 : n + call / 1_000;
          controllers.set(call, controller);
          tell(call, queue.enqueue(call, { timeoutMs, signal: controller.signal }), String);
          model.enqueue(call, call, clock.now() + timeoutMs, clock.now());
        } else if (what === 'dequeue') {
          controllers.set(call, controller);
          tell(call, queue.dequeue({ signal: controller.signal }), (item) => `item ${item}`);
          model.dequeue(call, 'ERR_OVERLOADED');
        } else if (what === 'loop') {
          const loop = loops[n % loops.length] as (typeof loops)[number];
          loop.calls.push(call);
          tell(call, loop.iterator.next(), (next) => {
            const { done, value } = next as IteratorResult<number, undefined>;
            return done ? 'done' : `item ${value}`;
          });
          if (loop.left) model.told.set(call, 'done');
          else model.dequeue(call, 'done');
        } else if (what === 'leave') {
          const loop = loops[n % loops.length] as (typeof loops)[number];
          loop.left = true;
          void loop.iterator.return?.();
          for (const waiting of loop.calls) model.leave(waiting, 'done');
        } else if (what === 'abort') {
          const [whose, theirs] = [...controllers][n % Math.max(1, controllers.size)] ?? [];
          theirs?.abort(new Error('gone'));
          if (whose !== undefined) model.leave(whose, 'gone');
        } else if (what === 'wait') {
          await clock.advance(n);
          model.passTo(clock.now());
        } else if (what === 'turn') await Promise.resolve();
        else if (mayClose) {
          await queue.close();
          model.close();
          // A loop whose queue has ended has ended.
          for (const loop of loops) if (model.items.length === 0) loop.left = true;
        }
        expect(queue.size).toBe(model.items.length);
      }
      await new Promise(setImmediate);
      expect(told).toEqual(model.told);
      await queue.close();
      model.close();
      const rest: number[] = [];
      for await (const item of queue) rest.push(item);
      expect(rest).toEqual(model.items);
      await new Promise(setImmediate);
      expect(told).toEqual(model.told);
      expect(clock.pendingTimers).toBe(0);
    }),
    { numRuns: 500 },
  );
});
