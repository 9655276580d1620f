import fc from 'fast-check';

/** What a play is set up with: data only, so that a failing one can be read and shrunk. */
export interface LoaderSetup {
  schedule: 'tick' | 'immediate' | 'adaptive' | 'window' | 'sliding window' | 'by hand' | 'at once';
  cache: 'own' | 'off' | 'cacheMap';
  orderedHits: boolean;
  dedupe: boolean;
  missing: 'undefined' | 'null' | 'error';
  cacheErrors: 'all' | 'none' | 'of even keys';
  maxBatchSize: number;
  maxConcurrentBatches: number;
  /** Whether `KEY_MODULUS` says which keys mean the same. */
  sameKeys: boolean;
  batchTimeoutMs: number | undefined;
  maxEntries: number | undefined;
  ttlMs: number | undefined;
  maxBatchWeight: number | undefined;
  /** Whether a key's partition is its remainder by two, and a view's its own. */
  partitioned: boolean;
  /** Whether two views, each made when it is first used, use the loader beside its own callers. */
  views: boolean;
  /** What the batch function does when it is called, in turn. */
  starts: Start[];
  /** Whether `onBatch` is given, and what it does when it has noted what it was told. */
  onBatch: 'absent' | 'notes' | 'throws';
}

/** `loads`: it loads the key after its first one by its own loader, and does not wait for it. */
type Start = 'held' | 'throws' | 'gives no promise' | 'loads';

/** What the promise that the batch function gave comes to. */
export type Ending =
  | 'values'
  | 'a Map'
  | 'a Map that lacks keys'
  | 'a rejection'
  | 'too few'
  | 'a sparse array'
  | 'no array'
  | 'values of sorted keys';

export type LoaderStep =
  | { do: 'load'; by: number; key: number; leaves: 'never' | 'later' | 'already' }
  | { do: 'load many'; by: number; keys: number[]; leaves: 'never' | 'later' }
  | { do: 'leave'; which: number; look: boolean }
  | { do: 'clear'; by: number; key: number }
  | { do: 'clear all'; by: number }
  | { do: 'prime'; by: number; key: number; as: 'value' | 'error' | 'promise' }
  | { do: 'settle primed'; which: number; fails: boolean }
  | { do: 'settle'; which: number; with: Ending; look: boolean }
  | { do: 'dispatch'; which: number }
  | { do: 'advance'; ms: number }
  | { do: 'turn' | 'promises' };

export const KEY_MODULUS = 4;
/** How many calls of the batch function load something themselves at most. */
export const MOST_LOADING_CALLS = 6;
/** The key that a batch function loads whose first key is `first`. */
export const keyLoadedInside = (first: number): number => (first + 1) % 6;
export const WINDOW_MS = 4;
export const MAX_WAIT_MS = 7;

const key = fc.nat(5);
const by = fc.nat(2);
const which = fc.nat(7);
const sometimes = fc.boolean();

const usually = <T>(value: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 2, arbitrary: fc.constantFrom(...others) });

export const loaderSetup: fc.Arbitrary<LoaderSetup> = fc.record({
  schedule: fc.constantFrom<LoaderSetup['schedule'][]>(
    'tick',
    'immediate',
    'adaptive',
    'window',
    'sliding window',
    'by hand',
    'at once',
  ),
  cache: usually<LoaderSetup['cache']>('own', 'off', 'cacheMap'),
  orderedHits: sometimes,
  dedupe: sometimes,
  missing: fc.constantFrom<LoaderSetup['missing'][]>('undefined', 'null', 'error'),
  cacheErrors: fc.constantFrom<LoaderSetup['cacheErrors'][]>('all', 'none', 'of even keys'),
  maxBatchSize: usually(Number.POSITIVE_INFINITY, 1, 2, 3),
  maxConcurrentBatches: usually(Number.POSITIVE_INFINITY, 1, 2),
  sameKeys: usually(false, true),
  // Half a millisecond: it never ends together with a window, whose order beside it is nobody's concern.
  batchTimeoutMs: usually<number | undefined>(undefined, 6.5),
  maxEntries: usually<number | undefined>(undefined, 1, 2),
  ttlMs: usually<number | undefined>(undefined, 5),
  maxBatchWeight: usually<number | undefined>(undefined, 6),
  partitioned: usually(false, true),
  views: usually(false, true),
  starts: usually<Start[]>(
    ['held'],
    ['held', 'throws'],
    ['held', 'held', 'gives no promise'],
    ['loads'],
    ['held', 'loads'],
  ),
  onBatch: fc.constantFrom<LoaderSetup['onBatch'][]>('absent', 'notes', 'throws'),
});

export const loaderStep: fc.Arbitrary<LoaderStep> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('load' as const),
      by,
      key,
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
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('load many' as const),
      by,
      keys: fc.array(key, { maxLength: 4 }),
      leaves: fc.constantFrom<('never' | 'later')[]>('never', 'later'),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('leave' as const), which, look: sometimes }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('clear' as const), by, key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear all' as const), by }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('prime' as const),
      by,
      key,
      as: fc.constantFrom<('value' | 'error' | 'promise')[]>('value', 'error', 'promise'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('settle primed' as const), which, fails: sometimes }) },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which,
      with: usually<Ending>(
        'values',
        'a Map',
        'a Map that lacks keys',
        'a rejection',
        'a rejection',
        'too few',
        'a sparse array',
        'no array',
        'values of sorted keys',
      ),
      look: sometimes,
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('dispatch' as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 6, arbitrary: fc.constantFrom<LoaderStep[]>({ do: 'turn' }, { do: 'turn' }, { do: 'promises' }) },
);
