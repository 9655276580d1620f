import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';

test('scopes have keys, tags and patterns of their own', async () => {
  const cache = new Cache();
  const [ann, bob] = [cache.scope('user', 'ann'), cache.scope('user', 'bob')];
  await cache.set('k', 'shared');
  await ann.set('k', 'ann', { tags: ['t'] });
  await bob.set('k', 'bob', { tags: ['t'] });
  expect([await cache.get('k'), await ann.get('k'), bob.peek('k')]).toEqual(['shared', 'ann', 'bob']);
  expect(await ann.getMany(['k', 'none'])).toEqual(['ann', undefined]);
  expect(await ann.getOrSetMany(['k', 'x'], (keys) => new Map(keys.map((key) => [key, key])))).toEqual(['ann', 'x']);
  expect(await ann.lookup('k')).toMatchObject({ value: 'ann', tier: 'memory' });
  await ann.deleteByTag('t');
  expect([await ann.get('k'), await bob.get('k')]).toEqual([undefined, 'bob']);
  await ann.set('k', 'ann', { tags: ['t'] });
  await cache.deleteByTag('t');
  expect([await ann.get('k'), await bob.get('k'), await cache.get('k')]).toEqual([undefined, undefined, 'shared']);
  await ann.set('user:1', 1);
  await bob.set('user:1', 1);
  expect(await ann.deleteByPattern('user:*')).toBe(1);
  expect(await bob.get('user:1')).toBe(1);
  await bob.clear();
  expect(await bob.get('user:1')).toBeUndefined();
  expect(await cache.get('k')).toBe('shared');
  await bob.set('k', 1);
  await bob.expire('k');
  expect(await bob.delete(['k'])).toBe(true);
});

test('the parts of a scope do not run into each other, and a scope in a scope is their sequence', async () => {
  const cache = new Cache();
  await cache.scope('a', 'bc').set('k', 1);
  expect(await cache.scope('ab', 'c').get('k')).toBeUndefined();
  expect(await cache.scope('a').get('bck')).toBeUndefined();
  expect(await cache.scope('a').scope('bc').get('k')).toBe(1);
  expect(await cache.scope(1).get('k')).toBeUndefined();
  await cache.scope(1).set('k', 'number');
  expect(await cache.scope('1').get('k')).toBeUndefined();
});

test('a scoped loader and a scoped function see their own keys', async () => {
  const scope = new Cache().scope('a');
  expect(await scope.getOrSet('k', ({ key }) => key)).toBe('k');
  let calls = 0;
  const twice = scope.wrap((n: number) => 2 * n + 0 * ++calls, { name: 'twice' });
  expect([await twice(2), await twice(2)]).toEqual([4, 4]);
  expect(calls).toBe(1);
});

test('a scope needs parts', () => {
  const cache = new Cache();
  expect(() => cache.scope()).toThrow(/at least one part/);
  expect(() => cache.scope('a', '')).toThrow(TypeError);
  expect(() => cache.scope(undefined as unknown as string)).toThrow(TypeError);
});

test('over Redis a scope needs the secret, and its keys tell nothing of whose they are', async () => {
  const service = await startRedis();
  const client = new Redis(service.url);
  try {
    await client.flushall();
    const tier = () => new RedisTier({ client, prefix: 's:' });
    expect(() => new Cache({ remote: tier() }).scope('ann')).toThrow(/scopeSecret/);
    const scopeSecret = 'sixteen characters';
    await new Cache({ remote: tier(), scopeSecret }).scope('ann').set('k', 1);
    const names = await client.keys('*');
    expect(names).toHaveLength(1);
    expect(names[0]).toMatch(/^s:scope:[\w-]{43}:k$/);
    expect(await new Cache({ remote: tier(), scopeSecret }).scope('ann').get('k')).toBe(1);
    expect(await new Cache({ remote: tier(), scopeSecret: 'another secret!!' }).scope('ann').get('k')).toBeUndefined();
  } finally {
    client.disconnect();
    await service[Symbol.asyncDispose]();
  }
});
