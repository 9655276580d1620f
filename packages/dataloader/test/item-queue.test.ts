import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ItemQueue, type Queued } from '../src/item-queue.ts';

let reads = 0;

/** An item that counts how often its size is looked at. */
class Item implements Queued<Item> {
  place = 0;
  waits = false;
  previous: Item | undefined = undefined;
  next: Item | undefined = undefined;
  readonly #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  get bytes(): number {
    reads += 1;
    return this.#bytes;
  }
}

function filled(maxBatchSize: number, maxBatchBytes: number, sizes: readonly number[]) {
  const queue = new ItemQueue<Item>(maxBatchSize, maxBatchBytes);
  const items = sizes.map((bytes) => new Item(bytes));
  for (const item of items) queue.push(item);
  return { queue, items };
}

describe('ItemQueue', () => {
  it.each([
    ['from the front', (items: Item[]) => items],
    ['from the back', (items: Item[]) => items.toReversed()],
    ['from the middle', (items: Item[]) => [...items.slice(items.length / 2), ...items.slice(0, items.length / 2)]],
  ])('looks at each item a few times when all leave %s, one by one', (_order, inOrder) => {
    const { queue, items } = filled(50_000, 1_000_000, new Array(20_000).fill(1));
    expect(queue.takeDue()).toBeUndefined();
    reads = 0;
    let removed = 0;
    for (const item of inOrder(items)) {
      if (queue.remove(item)) removed += 1;
      queue.takeDue();
    }
    expect([removed, queue.length]).toEqual([items.length, 0]);
    expect(reads).toBeLessThanOrEqual(2 * items.length);
  });

  it('holds nothing of an item that has left', () => {
    const { queue, items } = filled(10, 10, [1, 2, 3]);
    queue.remove(items[1] as Item);
    expect(queue.remove(items[1] as Item)).toBe(false);
    expect(items[1]).toMatchObject({ previous: undefined, next: undefined, waits: false });
    queue.flush();
    expect(queue.takeDue()).toEqual([items[0], items[2]]);
    expect(items[2]).toMatchObject({ previous: undefined, next: undefined, waits: false });
    expect([queue.length, queue.firstPlace, queue.hasUnflushed]).toEqual([0, undefined, false]);
  });

  it('forgets what sums of fractions leave over when all have left', () => {
    const { queue, items } = filled(10, 1, [0.3, 0.6]);
    queue.takeDue();
    for (const item of items) queue.remove(item);
    // 0.3 + 0.6 - 0.3 - 0.6 is a little less than 0 in floating point, and with these a little less than a full batch.
    for (const bytes of [0.4, 0.6]) queue.push(new Item(bytes));
    expect(queue.takeDue()).toHaveLength(2);
  });

  it('cuts the same batches as a list that is measured anew each time', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.nat(6).map((bytes) => ({ bytes })) },
      { weight: 2, arbitrary: fc.nat(20).map((remove) => ({ remove })) },
      { weight: 2, arbitrary: fc.constantFrom('take' as const, 'flush' as const) },
    );
    fc.assert(
      fc.property(
        fc.constantFrom(1, 3, Number.POSITIVE_INFINITY),
        fc.constantFrom(1, 7, Number.POSITIVE_INFINITY),
        fc.array(step, { maxLength: 60, size: 'max' }),
        (maxBatchSize, maxBatchBytes, steps) => {
          const { queue } = filled(maxBatchSize, maxBatchBytes, []);
          let list: Item[] = [];
          let due = new Set<Item>();
          const firstFit = () => {
            const batch: Item[] = [];
            let bytes = 0;
            for (const item of list) {
              const fits = batch.length === 0 || bytes + item.bytes <= maxBatchBytes;
              if (!fits || batch.length === maxBatchSize || bytes >= maxBatchBytes) return { batch, full: true };
              batch.push(item);
              bytes += item.bytes;
            }
            return { batch, full: batch.length === maxBatchSize || bytes >= maxBatchBytes };
          };
          for (const one of steps) {
            if (one === 'flush') {
              queue.flush();
              due = new Set(list);
            } else if (one === 'take') {
              const { batch, full } = firstFit();
              const expected = full || (batch[0] !== undefined && due.has(batch[0])) ? batch : undefined;
              expect(queue.takeDue()).toEqual(expected);
              if (expected !== undefined) list = list.slice(expected.length);
            } else if ('remove' in one) {
              const item = list[one.remove];
              if (item !== undefined) expect(queue.remove(item)).toBe(true);
              list = list.filter((other) => other !== item);
            } else {
              const item = new Item(one.bytes);
              queue.push(item);
              list.push(item);
            }
            expect(queue.length).toBe(list.length);
            expect(queue.hasUnflushed).toBe(list.some((item) => !due.has(item)));
          }
        },
      ),
    );
  });
});
