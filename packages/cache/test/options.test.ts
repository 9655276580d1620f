import { Cache, type CacheOptions } from '@x/cache';
import { cachedTool } from '@x/cache/mcp';
import { RedisTier, type RedisTierOptions } from '@x/cache/redis';
import { expect, test } from 'vitest';

test.each<[CacheOptions, RegExp]>([
  [{ ttlMs: 0 }, /@x\/cache: ttlMs must be a number of milliseconds > 0, got 0/],
  [{ ttlMs: Number.NaN }, /ttlMs .* got NaN/],
  [{ ttlMs: '5m' as unknown as number }, /ttlMs .* got '5m'/],
  [{ maxEntries: 0 }, /maxEntries must be an integer >= 1, got 0/],
  [{ maxEntries: 1.5 }, /maxEntries/],
  [{ maxBytes: -1 }, /maxBytes/],
  [{ jitter: 1.1 }, /jitter must be a number from 0 to 1/],
  [{ staleIfErrorMs: -1 }, /staleIfErrorMs/],
  [{ staleWhileRevalidateMs: -1 }, /staleWhileRevalidateMs/],
  [{ negativeTtlMs: -1 }, /negativeTtlMs/],
  [{ loadTimeoutMs: 0 }, /loadTimeoutMs/],
  [{ policy: 'fifo' as 'lru' }, /policy must be one of 's3-fifo', 'lru', got 'fifo'/],
  [{ copy: 'json' as 'none' }, /copy must be one of/],
  [{ scopeSecret: 'short' }, /scopeSecret/],
])('%j is refused when the cache is made', (options, message) => {
  expect(() => new Cache(options)).toThrow(message);
});

test.each([[['my secret in a list']], [Number('1234567')], [Buffer.from('my secret bytes')]])(
  'a secret of the wrong kind is not shown (%#)',
  (scopeSecret) => {
    const make = () => new Cache({ scopeSecret: scopeSecret as unknown as string });
    expect(make).toThrow(
      /scopeSecret must be a string of at least 16 characters, got a value of type (object|number)$/,
    );
  },
);

test('an option that is undefined counts as absent', async () => {
  const cache = new Cache({ ttlMs: undefined, maxEntries: undefined, policy: undefined, copy: undefined });
  await cache.getOrSet('k', () => 1, { ttlMs: undefined, tags: undefined, signal: undefined });
  expect(cache.peek('k')).toBe(1);
});

const wrong = [null, '1', Number.NaN, true, {}, []];

/** Every option with values of a wrong type, and how it is given. */
const places: [string, readonly string[], (options: never) => unknown][] = [
  [
    'Cache',
    [
      ...[
        'name',
        'ttlMs',
        'staleWhileRevalidateMs',
        'staleIfErrorMs',
        'negativeTtlMs',
        'jitter',
        'maxEntries',
        'maxBytes',
      ],
      ...['maxItemBytes', 'policy', 'copy', 'loadTimeoutMs', 'remote', 'scopeSecret', 'clock', 'random'],
    ],
    (options) => new Cache(options),
  ],
  [
    'RedisTier',
    ['client', 'prefix', 'commandTimeoutMs', 'retryAfterMs', 'leaseMs', 'scanCount', 'clock'],
    (options) =>
      new RedisTier({
        client: { call: async () => {}, callBuffer: async () => {}, status: 'ready' },
        ...(options as object),
      }),
  ],
  [
    'wrap',
    ['name', 'key', 'ttlMs', 'tags'],
    (options) => new Cache().wrap(() => 1, { name: 'f', ...(options as object) }),
  ],
  [
    'cachedTool',
    ['name', 'readOnly', 'scope', 'identify', 'ttlMs', 'staleWhileRevalidateMs', 'staleIfErrorMs', 'tags'],
    (options) => cachedTool(new Cache(), () => 1, { name: 't', readOnly: true, ...(options as object) }),
  ],
  ['set', ['ttlMs', 'staleWhileRevalidateMs', 'staleIfErrorMs', 'tags'], (options) => new Cache().set('k', 1, options)],
  ...(['getOrSet', 'getOrSetEntry'] as const).map(
    (method): [string, readonly string[], (options: never) => unknown] => [
      method,
      ['ttlMs', 'staleWhileRevalidateMs', 'staleIfErrorMs', 'tags', 'signal'],
      (options) => new Cache()[method]('k', () => 1, options),
    ],
  ),
  ['getOrSetMany', ['ttlMs', 'tags', 'signal'], (options) => new Cache().getOrSetMany(['k'], (keys) => keys, options)],
  ['close', ['timeoutMs'], (options) => new Cache().close(options)],
];
const right: Record<string, readonly unknown[]> = {
  name: ['1'],
  prefix: ['1'],
  readOnly: [true],
};

test.each(
  places.flatMap(([place, options, give]) =>
    options.flatMap((option) =>
      wrong
        .filter((value) => !right[option]?.includes(value) && !(option === 'tags' && Array.isArray(value)))
        .map((value) => ({ place, option, value, give })),
    ),
  ),
)('$place refuses $value as $option', async ({ option, value, give }) => {
  const type = typeof value === 'number' || option === 'scopeSecret' ? Error : TypeError;
  const refused = expect(async () => give({ [option]: value } as never)).rejects;
  await refused.toThrow(type);
  await expect(async () => give({ [option]: value } as never)).rejects.toThrow(
    // A tool's name has been called toolName before.
    new RegExp(`^@x/cache: (close\\(\\{ )?(${option}|toolName)( \\}\\))? must be .+, got .+`),
  );
});

test('where options are expected, nothing else will do', async () => {
  expect(() => new Cache(null as never)).toThrow('@x/cache: options must be an object, got null');
  expect(() => new RedisTier(undefined as never)).toThrow(
    '@x/cache: RedisTier options must be an object, got undefined',
  );
  await expect(new Cache().set('k', 1, 5 as never)).rejects.toThrow(/options must be an object, got 5/);
  await expect(new Cache().getOrSet('k', 'no loader' as never)).rejects.toThrow(/loader must be a function/);
  await expect(new Cache().set('k', 1, { tags: ['a', 1 as never] })).rejects.toThrow(
    /tags must be an array of strings that are not empty, got \[1\]/,
  );
});

test('a time-out that Node could not wait for is refused, since it would fire at once', () => {
  expect(() => new Cache({ loadTimeoutMs: 2 ** 31 })).toThrow(RangeError);
  expect(() => new Cache({ loadTimeoutMs: Number.POSITIVE_INFINITY })).toThrow(RangeError);
});

test('wrong options of a call are refused there', async () => {
  const cache = new Cache();
  await expect(cache.set('k', 1, { ttlMs: -1 })).rejects.toThrow(RangeError);
  await expect(cache.getOrSet('k', () => 1, { ttlMs: Number.NaN })).rejects.toThrow(RangeError);
  await expect(cache.getOrSet('k', ({ setTtl }) => setTtl(-1))).rejects.toThrow(RangeError);
  await expect(cache.deleteByPattern('')).rejects.toThrow(TypeError);
  expect(() => cache.wrap(() => 1, { name: '' })).toThrow(TypeError);
});

test.each([
  [{ client: {} }, /client/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, prefix: '' }, /prefix/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, prefix: 'tag|x' }, /prefix/],
  [{ client: { call() {}, status: 'ready' } }, /client/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, invalidation: 'tracking' }, /duplicate/],
  [
    { client: { call() {}, callBuffer() {}, duplicate() {}, status: 'ready' }, invalidation: 'polling' },
    /invalidation/,
  ],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, maxLagMs: 0 }, /maxLagMs/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, compressOverBytes: 0 }, /compressOverBytes/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, maxInflatedBytes: -1 }, /maxInflatedBytes/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, encoding: {} }, /encoding/],
  [
    { client: { call() {}, callBuffer() {}, status: 'ready' }, encoding: { id: 'j', encode() {}, decode() {} } },
    /encoding.id/,
  ],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, leaseMs: 0 }, /leaseMs/],
  [{ client: { call() {}, callBuffer() {}, status: 'ready' }, commandTimeoutMs: -1 }, /commandTimeoutMs/],
])('%j is refused when the tier is made', (options, message) => {
  expect(() => new RedisTier(options as unknown as RedisTierOptions)).toThrow(message);
});
