import { deflateRawSync } from 'node:zlib';
import { Cache } from '@x/cache';
import { msgpack } from '@x/cache/msgpack';
import { RedisTier, type RedisTierOptions } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { Packr } from 'msgpackr';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
let client: Redis;

beforeAll(async () => {
  service = await startRedis();
  client = new Redis(service.url);
});
afterAll(async () => {
  client?.disconnect();
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await client.flushall();
});

function tier(options: Partial<RedisTierOptions> = {}): RedisTier {
  return new RedisTier({ client, prefix: 'enc:', invalidation: 'none', ...options });
}

function entry(value: unknown) {
  return { value, storedAt: 1_000, freshUntil: 2_000, keepMs: 60_000, tags: ['ünï'], loadMs: 3 };
}

const WAYS: [string, Partial<RedisTierOptions>][] = [
  ['JSON', {}],
  ['JSON, compressed', { compressOverBytes: 1 }],
  ['MessagePack', { encoding: msgpack() }],
  ['MessagePack, compressed', { encoding: msgpack(), compressOverBytes: 1 }],
];

const stored = () => client.getBuffer('enc:k') as Promise<Buffer>;
const coding = async () => (await stored()).toString('latin1', 50, 52);

describe.each(WAYS)('%s', (_, options) => {
  test('gives every JSON value back as it was', async () => {
    const remote = tier(options);
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ stringUnit: 'binary', maxDepth: 4, depthSize: 'medium' }), async (value) => {
        const json = JSON.parse(JSON.stringify(value));
        await remote.set('k', entry(json));
        expect(await remote.get('k')).toMatchObject({ storedAt: 1_000, freshUntil: 2_000, tags: ['ünï'], loadMs: 3 });
        expect((await remote.get('k'))?.value).toEqual(json);
        expect((await remote.getMany(['k', 'none', 'k'])).map((found) => found?.value)).toEqual([
          json,
          undefined,
          json,
        ]);
      }),
      { numRuns: 60 },
    );
  });

  test('keeps the order of calls', async () => {
    const remote = tier(options);
    const large = 'x'.repeat(200_000);
    const writes = [
      remote.set('k', entry(large)),
      remote.set('k', entry('small')),
      remote.set('other', entry(large)),
      remote.delete(['other']),
      remote.set('tagged', entry(large)),
      remote.deleteByPattern('tag*'),
    ];
    await Promise.all(writes);
    expect((await remote.get('k'))?.value).toBe('small');
    expect(await client.exists('enc:other', 'enc:tagged')).toBe(0);
  });

  test('goes through the cache, leases and all', async () => {
    const [a, b] = [new Cache({ remote: tier(options) }), new Cache({ remote: tier(options) })];
    const value = { list: Array.from({ length: 500 }, (_, n) => ({ n, text: `item ${n}` })) };
    expect(await a.getOrSet('k', () => value)).toEqual(value);
    expect(await b.getOrSet('k', () => 'not loaded')).toEqual(value);
  });
});

test.each([
  ['half a surrogate pair', { text: 'a\ud800b', '\udc00': 1 }],
  ['an own __proto__', JSON.parse('{"__proto__":{"polluted":true}}')],
  ['the character that stands for a lost one', 'a\ufffd'],
  ['a property that is undefined', { a: undefined, b: 1 }],
  ['large and negative numbers', [2 ** 53, -(2 ** 53), 2 ** 63, 1.5e300, -0.1, 4_294_967_296]],
])('MessagePack gives %s back as JSON does', async (_, value) => {
  const remote = tier({ encoding: msgpack() });
  await remote.set('k', entry(value));
  expect((await remote.get('k'))?.value).toStrictEqual(JSON.parse(JSON.stringify(value)));
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('only what is large is compressed, and only where that makes it smaller', async () => {
  const remote = tier({ compressOverBytes: 1_000 });
  await remote.set('k', entry('x'.repeat(900)));
  expect(await coding()).toBe('j-');
  await remote.set('k', entry('ü'.repeat(900)));
  expect(await coding()).toBe('jd');
  expect((await stored()).length).toBeLessThan(200);
  await remote.set('k', entry(Array.from({ length: 2_000 }, () => Math.random().toString(36).slice(2)).join('')));
  expect(await coding()).toBe('jd');
  const noise = tier({ compressOverBytes: 10 });
  await noise.set('k', entry('q8#Zp!2v'));
  expect(await coding()).toBe('j-');
});

test('processes with different encodings read each other, or miss; a miss is loaded and stored anew', async () => {
  const [json, packed] = [tier(), tier({ encoding: msgpack(), compressOverBytes: 1 })];
  await json.set('k', entry('of JSON'));
  expect((await packed.get('k'))?.value).toBe('of JSON');
  await packed.set('k', entry('packed'));
  expect(await coding()).toMatch(/^m/);
  const cache = new Cache({ remote: json });
  expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded');
  expect(await coding()).toBe('j-');
  expect((await packed.get('k'))?.value).toBe('loaded');
});

const HEAD = `xc2V${'v'.repeat(16)}${'0'.repeat(15)}999999999999999`;

/** [1, null, [], value] with the last part as raw bytes. */
const body = (...value: number[]) => Buffer.from([0x94, 0x01, 0xc0, 0x90, ...value]);

test.each<[string, string, Buffer]>([
  [
    'a deflate bomb',
    'jd',
    deflateRawSync(Buffer.concat([Buffer.from('[1,null,[],"'), Buffer.alloc(5_000_000, 'x'), Buffer.from('"]')])),
  ],
  [
    'a MessagePack bomb',
    'md',
    deflateRawSync(Buffer.concat([body(0xdb, 0x00, 0x4c, 0x4b, 0x40), Buffer.alloc(5_000_000, 'x')])),
  ],
  ['bytes that are no DEFLATE', 'jd', Buffer.from([1, 2, 3, 4, 5])],
  ['an unknown compression', 'j?', Buffer.from('[1,null,[],1]')],
  ['an unknown encoding', 'q-', Buffer.from('[1,null,[],1]')],
  ['an array that claims four billion items', 'm-', body(0xdd, 0xff, 0xff, 0xff, 0xff)],
  ['a map that claims four billion entries', 'm-', body(0xdf, 0xff, 0xff, 0xff, 0xff, 0xa0)],
  ['a text that claims four gigabytes', 'm-', body(0xdb, 0xff, 0xff, 0xff, 0xff)],
  ['bytes', 'm-', body(0xc4, 0x01, 0x00)],
  ['an extension', 'm-', body(0xd6, 0xff, 0, 0, 0, 0)],
  ['a 64-bit integer', 'm-', body(0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0)],
  ['a key that is no text', 'm-', body(0x81, 0x01, 0x01)],
  ['something behind the value', 'm-', body(0x01, 0x01)],
  ['nesting without end', 'm-', Buffer.concat([body(), Buffer.alloc(100_000, 0x91)])],
  ['nothing', 'm-', Buffer.alloc(0)],
  ['a record of msgpackr', 'm-', Buffer.from(new Packr({ useRecords: true }).pack([1, null, [], { a: 1 }]))],
])('%s is a miss', async (_, code, bytes) => {
  const remote = tier({ encoding: msgpack(), maxInflatedBytes: 1_000_000 });
  await client.set('enc:k', Buffer.concat([Buffer.from(HEAD + code, 'latin1'), bytes]));
  expect(await remote.getMany(['k'])).toEqual([undefined]);
  expect(await remote.get('k')).toBeUndefined();
  expect(await new Cache({ remote }).getOrSet('k', () => 'loaded')).toBe('loaded');
  expect((await remote.get('k'))?.value).toBe('loaded');
});

test('what is within the bound is read', async () => {
  const large = 'x'.repeat(900_000);
  await tier({ compressOverBytes: 1 }).set('k', entry(large));
  expect((await tier({ maxInflatedBytes: 1_000_000 }).get('k'))?.value).toBe(large);
  expect(await tier({ maxInflatedBytes: 100_000 }).get('k')).toBeUndefined();
});

test('random bytes behind our header are never more than a miss', async () => {
  const remote = tier({ encoding: msgpack(), maxInflatedBytes: 100_000 });
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 200, size: 'max' }),
      fc.constantFrom('j-', 'jd', 'm-', 'md'),
      async (bytes, code) => {
        await client.set('enc:k', Buffer.concat([Buffer.from(HEAD + code, 'latin1'), bytes]));
        const found = await remote.get('k');
        if (found !== undefined) expect(found.tags.every((tag) => typeof tag === 'string')).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});

test('JSON too deep to be frozen is no crash', async () => {
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  await client.set('enc:k', `${HEAD}j-[1,null,[],${deep}]`);
  const cache = new Cache({ remote: tier() });
  const found = await cache.getOrSet('k', () => 'loaded');
  expect(found === 'loaded' || Array.isArray(found)).toBe(true);
});

test('what comes from Redis cannot be changed by who reads it, and counts by its size', async () => {
  await tier().set('k', entry({ list: [{ a: 1 }, 'x'.repeat(1_000)], none: null }));
  await client.setrange('enc:k', 35, '999999999999999');
  const cache = new Cache({ remote: tier() });
  const value = (await cache.get('k')) as { list: { a: number }[] };
  expect([Object.isFrozen(value), Object.isFrozen(value.list), Object.isFrozen(value.list[0])]).toEqual([
    true,
    true,
    true,
  ]);
  expect(cache.stats().bytes).toBeGreaterThan(1_000);
  const clones = new Cache({ remote: tier(), copy: 'clone' });
  const first = (await clones.get('k')) as { list: { a: number }[] };
  (first.list[0] as { a: number }).a = 2;
  expect(await clones.get('k')).toMatchObject({ list: [{ a: 1 }, expect.any(String)] });
});
