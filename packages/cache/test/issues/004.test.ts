import { Cache, stableKey } from '@x/cache';
import { expect, test } from 'vitest';

// A getter or a proxy may answer otherwise each time: the key was that of one answer, the function saw another; and a kept proxy could
// not be read again, or answered as it liked.

test.each([
  ['a getter', Object.defineProperty({}, 'a', { get: () => 1, enumerable: true }), /\$\.a is a getter or a setter/],
  ['a setter', { b: Object.defineProperty({}, 'a', { set: () => {}, enumerable: true }) }, /\$\.b\.a is a getter/],
  ['a proxy', { p: new Proxy({ a: 1 }, { get: () => 2 }) }, /\$\.p is a proxy/],
  ['a proxy of an array', new Proxy([1], {}), /\$ is a proxy/],
  ['a revoked proxy', revoked(), /\$ is a proxy/],
  [
    'an object whose class throws',
    Object.create({
      get constructor() {
        throw new Error('boom');
      },
    }),
    /\$ is an object with a prototype of its own/,
  ],
])('%s makes no key', (_, value, message) => {
  expect(() => stableKey(value)).toThrow(TypeError);
  expect(() => stableKey(value)).toThrow(message);
});

test('a proxy is given to its callers but not kept', async () => {
  const cache = new Cache();
  let answer = 0;
  const load = () => ({
    inner: new Proxy({ a: 1 }, { get: (target, name) => (name === 'a' ? ++answer : Reflect.get(target, name)) }),
  });
  expect((await cache.getOrSet('k', load)).inner.a).toBe(1);
  expect(cache.peek('k')).toBeUndefined();
  await cache.set('revoked', { inner: revoked() });
  expect(cache.peek('revoked')).toBeUndefined();
});

test('with copy none what throws when it is read can be kept all the same', async () => {
  const cache = new Cache({ copy: 'none' });
  const value = {
    get a(): number {
      throw new Error('boom');
    },
    inner: revoked(),
  };
  expect(await cache.getOrSet('k', () => value)).toBe(value);
  expect(cache.peek('k')).toBe(value);
});

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
