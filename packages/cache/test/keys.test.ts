import { createHash } from 'node:crypto';
import { Cache, stableKey, toolKey } from '@x/cache';
import fc from 'fast-check';
import { expect, test } from 'vitest';

test('a tool’s key is its name and the SHA-256 of the canonical JSON of its arguments', () => {
  const hash = createHash('sha256').update('{"a":[1,"x",null,true],"b":{"c":-0}}').digest('hex');
  expect(toolKey('get_user', { b: { c: -0 }, a: [1, 'x', null, true] })).toBe(`tool:get_user:${hash}`);
});

test('the order of arguments does not matter, at any depth', () => {
  expect(toolKey('t', { a: 1, b: { x: 1, y: [{ p: 1, q: 2 }] } })).toBe(
    toolKey('t', { b: { y: [{ q: 2, p: 1 }], x: 1 }, a: 1 }),
  );
});

test('the canonical text of a JSON value reads back as the same value, so that two values never share one', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5, depthSize: 'medium' }), (value) => {
      const wellFormed = JSON.parse(JSON.stringify(value).replace(/\\ud[89a-f][0-9a-f]{2}/gi, '?')) as unknown;
      expect(JSON.parse(stableKey(wellFormed))).toEqual(wellFormed);
    }),
    { numRuns: 500 },
  );
});

test('a shuffled copy has the same key, a changed one another', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: 'grapheme' }), fc.integer()),
      fc.string({ unit: 'grapheme' }),
      (object, name) => {
        const reversed = Object.fromEntries(Object.entries(object).reverse());
        expect(stableKey(reversed)).toBe(stableKey(object));
        const changed = { ...object, [name]: (Object.hasOwn(object, name) ? (object[name] ?? 0) : 0) + 1 };
        expect(stableKey(changed)).not.toBe(stableKey(object));
      },
    ),
    { numRuns: 300 },
  );
});

test.each([
  [{ a: '1' }, { a: 1 }],
  [{ a: null }, {}],
  [{ a: 'null' }, { a: null }],
  [[1, 2], { 0: 1, 1: 2 }],
  [["a','b"], ['a', 'b']],
  [{ a: 0 }, { a: -0 }],
  [[[]], []],
  ['Ab', 'BA'],
  [{ 'a":1,"b': 1 }, { a: 1, b: 1 }],
  [JSON.parse('{"__proto__":{"a":1}}'), {}],
])('%j and %j have different keys', (left, right) => {
  expect(stableKey(left)).not.toBe(stableKey(right));
});

test('__proto__, constructor and toJSON are ordinary names for ordinary values', () => {
  const args = JSON.parse('{"__proto__":1,"constructor":2,"toJSON":3}');
  expect(stableKey(args)).toBe('{"__proto__":1,"constructor":2,"toJSON":3}');
  expect(stableKey(Object.assign(Object.create(null), { a: 1 }))).toBe('{"a":1}');
});

class Account {
  id = 1;
}

test.each([
  ['undefined', { a: undefined }, /\$\.a is undefined/],
  ['NaN', { a: [Number.NaN] }, /\$\.a\[0\] is NaN/],
  ['Infinity', [1, Number.POSITIVE_INFINITY], /\$\[1\] is Infinity/],
  ['a bigint', { a: 1n }, /\$\.a is a bigint/],
  ['a symbol', Symbol('s'), /\$ is a symbol/],
  ['a function', { f: () => 1 }, /\$\.f is a function/],
  ['a Map', { a: { b: new Map() } }, /\$\.a\.b is a Map/],
  ['a Set', new Set([1]), /\$ is a Set/],
  ['a Date', { at: new Date(0) }, /\$\.at is a Date/],
  ['a Buffer', Buffer.from('x'), /\$ is a Buffer/],
  ['a class instance', { who: new Account() }, /\$\.who is a Account/],
  ['a boxed number', Object(1), /\$ is a Number/],
  ['an object that makes its own JSON', { a: { toJSON: () => 'x' } }, /\$\.a\.toJSON is a function/],
  ['an inherited property', Object.create({ a: 1 }), /\$ is /],
  ['a symbol key', { [Symbol('s')]: 1 }, /symbol keys/],
  ['a hidden property', Object.defineProperty({}, 'a', { value: 1 }), /hidden/],
  ['a hole', new Array(3), /holes/],
  ['an array with a property', Object.assign([1], { a: 1 }), /extra/],
  ['an unpaired surrogate', { a: 'x\ud800' }, /\$\.a is a string with an unpaired surrogate/],
  ['a name with an unpaired surrogate', { '\udc00': 1 }, /surrogate/],
])('%s is refused, with its place', (_, value, message) => {
  expect(() => stableKey(value)).toThrow(TypeError);
  expect(() => stableKey(value)).toThrow(message);
  expect(() => toolKey('t', value)).toThrow(message);
});

test('what is too deep, or in a circle, is refused rather than overflowing the stack', () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  expect(() => stableKey(circle)).toThrow(/nested more than 100 deep/);
  let deep: unknown = 1;
  for (let depth = 0; depth < 100_000; depth++) deep = [deep];
  expect(() => stableKey(deep)).toThrow(TypeError);
});

test('keys are strings of bounded length without unpaired surrogates', async () => {
  const cache = new Cache();
  await expect(cache.getOrSet('', () => 1)).rejects.toThrow(/1 to 4096 characters, got 0/);
  await expect(cache.set('k'.repeat(4_097), 1)).rejects.toThrow(RangeError);
  await expect(cache.getOrSet('k\ud800', () => 1)).rejects.toThrow(/surrogate/);
  await expect(cache.get(7 as unknown as string)).rejects.toThrow(TypeError);
  await cache.set('__proto__', 1);
  expect(cache.peek('__proto__')).toBe(1);
  expect(cache.peek('constructor')).toBeUndefined();
  expect(() => toolKey('', {})).toThrow(TypeError);
  expect(() => toolKey('t'.repeat(257), {})).toThrow(TypeError);
});

test('a wrapped function is kept by name and arguments', async () => {
  const cache = new Cache();
  let calls = 0;
  const add = cache.wrap((a: number, b: number) => a + b + 0 * ++calls, { name: 'add' });
  const concat = cache.wrap((a: number, b: number) => `${a}${b}`, { name: 'concat' });
  expect(await add(1, 2)).toBe(3);
  expect(await add(1, 2)).toBe(3);
  expect(await add(2, 1)).toBe(3);
  expect(calls).toBe(2);
  expect(await concat(1, 2)).toBe('12');
  const byId = cache.wrap((user: { id: string; at: Date }) => ({ id: user.id }), {
    name: 'user',
    key: (user) => user.id,
  });
  expect(await byId({ id: 'Ab', at: new Date(1) })).toEqual({ id: 'Ab' });
  expect(await byId({ id: 'Ab', at: new Date(2) })).toEqual({ id: 'Ab' });
  expect(await byId({ id: 'BA', at: new Date(1) })).toEqual({ id: 'BA' });
  await expect(add(1, undefined as unknown as number)).rejects.toThrow(TypeError);
  const long = cache.wrap((text: string) => text.length, { name: 'long' });
  expect(await long('x'.repeat(10_000))).toBe(10_000);
  expect(await long('y'.repeat(9_999))).toBe(9_999);
});
