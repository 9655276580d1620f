import fc from 'fast-check';

/** What a play is set up with: data only, so that a failing one can be read and shrunk. */
export interface BatcherSetup {
  maxBatchSize: number;
  maxBatchBytes: number | undefined;
  maxQueued: number;
  whenFull: 'reject' | 'wait';
  maxConcurrentBatches: number;
  batchTimeoutMs: number | undefined;
  /** What the batch function does when it is called, in turn. */
  starts: WriteStart[];
}

/** `submits`: it submits one more item to its own batcher, and does not wait for it. */
type WriteStart = 'held' | 'throws' | 'gives no promise' | 'submits';

/** What the promise that the batch function gave comes to. */
export type WriteEnding = 'results' | 'nothing' | 'a rejection' | 'too few' | 'a sparse array' | 'no array';

export type BatcherStep =
  | { do: 'submit'; bytes: number; leaves: 'never' | 'later' | 'already' }
  | { do: 'submit what is valid'; items: { bytes: number; valid: boolean }[] }
  | { do: 'submit when there is room'; leaves: 'never' | 'later' }
  | { do: 'leave'; which: number; look: boolean }
  | { do: 'settle'; which: number; with: WriteEnding; look: boolean }
  | { do: 'advance'; ms: number }
  | { do: 'flush' | 'idle' | 'close' | 'turn' | 'promises' };

export const WRITE_WINDOW_MS = 4;

/** How many calls of the batch function submit something themselves at most. */
export const MOST_SUBMITTING_CALLS = 5;

const which = fc.nat(7);
const sometimes = fc.boolean();
// Not a size: the item is refused.
const bytes = fc.oneof({ weight: 12, arbitrary: fc.nat(6) }, { weight: 1, arbitrary: fc.constant(-1) });

const usually = <T>(value: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 2, arbitrary: fc.constantFrom(...others) });

export const batcherSetup: fc.Arbitrary<BatcherSetup> = fc.record({
  maxBatchSize: fc.constantFrom(1, 2, 3, Number.POSITIVE_INFINITY),
  maxBatchBytes: usually<number | undefined>(undefined, 5, 8),
  maxQueued: usually(Number.POSITIVE_INFINITY, 1, 2, 4),
  whenFull: fc.constantFrom<BatcherSetup['whenFull'][]>('reject', 'wait'),
  maxConcurrentBatches: usually(1, 2, Number.POSITIVE_INFINITY),
  // Half a millisecond: it never ends together with a window, whose order beside it is nobody's concern.
  batchTimeoutMs: usually<number | undefined>(undefined, 6.5),
  starts: usually<WriteStart[]>(
    ['held'],
    ['held', 'throws'],
    ['held', 'held', 'gives no promise'],
    ['submits', 'held'],
  ),
});

export const batcherStep: fc.Arbitrary<BatcherStep> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      bytes,
      leaves: fc.constantFrom<('never' | 'later' | 'already')[]>(
        'never',
        'never',
        'later',
        'later',
        'later',
        'already',
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('submit what is valid' as const),
      items: fc.array(fc.record({ bytes: fc.nat(6), valid: sometimes }), { maxLength: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('submit when there is room' as const),
      leaves: fc.constantFrom<('never' | 'later')[]>('never', 'later'),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('leave' as const), which, look: sometimes }) },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which,
      with: usually<WriteEnding>(
        'results',
        'nothing',
        'a rejection',
        'a rejection',
        'too few',
        'a sparse array',
        'no array',
      ),
      look: sometimes,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 8 }) }) },
  {
    weight: 8,
    arbitrary: fc.constantFrom<BatcherStep[]>(
      { do: 'turn' },
      { do: 'turn' },
      { do: 'promises' },
      { do: 'promises' },
      { do: 'flush' },
      { do: 'flush' },
      { do: 'idle' },
    ),
  },
  // Rare: after it everything is refused. Every play ends with one anyway.
  {
    weight: 1,
    arbitrary: fc.nat(7).map((n): BatcherStep => (n === 0 ? { do: 'close' } : { do: 'turn' })),
  },
);
