import { Cache } from '@x/cache';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

test('JSON-like values are frozen once, at every depth, and shared', async () => {
  const cache = new Cache();
  const value = { list: [{ a: 1 }], text: 'x', none: undefined };
  const loaded = await cache.getOrSet('k', () => value);
  expect(loaded).toBe(value);
  expect(await cache.get('k')).toBe(value);
  expect(() => value.list.push({ a: 2 })).toThrow(TypeError);
  expect(() => Object.assign(value.list[0] ?? {}, { a: 2 })).toThrow(TypeError);
});

test.each([
  ['a Map', () => new Map([['a', 1]])],
  ['a Date in an object', () => ({ at: new Date(0) })],
  ['a Buffer in an object', () => ({ bytes: new Uint8Array([1, 2, 3]) })],
  [
    'a circle',
    () => {
      const circle: Record<string, unknown> = { n: 1 };
      circle.self = circle;
      return circle;
    },
  ],
])('%s cannot be frozen: each reader gets a clone', async (_, make) => {
  const cache = new Cache();
  const value: unknown = make();
  const loaded = await cache.getOrSet<unknown>('k', () => value);
  const [one, two] = [await cache.get('k'), await cache.get('k')];
  expect(one).toEqual(make());
  expect(one).not.toBe(two);
  expect(loaded).not.toBe(one);
  expect(Object.isFrozen(value)).toBe(false);
  for (const copy of [value, loaded, one]) {
    if (copy instanceof Map) copy.set('poison', 1);
    else (copy as Record<string, unknown>).poison = 1;
  }
  expect(await cache.get('k')).toEqual(make());
  expect(cache.peek('k')).toEqual(make());
});

test('what can neither be frozen nor cloned is handed on but not kept', async () => {
  const cache = new Cache();
  let loads = 0;
  const load = () => ({ n: ++loads, fn: () => loads });
  expect((await cache.getOrSet('k', load)).n).toBe(1);
  expect((await cache.getOrSet('k', load)).n).toBe(2);
  await cache.set('other', 1);
  await cache.set('other', () => {});
  expect(await cache.get('other')).toBeUndefined();
});

test('a getter is not called behind the back of a frozen value', async () => {
  const cache = new Cache();
  let reads = 0;
  await cache.set('k', {
    get a() {
      return ++reads;
    },
  });
  expect(await cache.get('k')).toEqual({ a: 1 });
  expect(await cache.get('k')).toEqual({ a: 1 });
});

test('clone: the value stays its maker’s, and every caller has one of their own', async () => {
  const cache = new Cache({ copy: 'clone' });
  const value = { list: [1] };
  const load = async () => value;
  const [one, two] = await Promise.all([cache.getOrSet('k', load), cache.getOrSet('k', load)]);
  value.list.push(2);
  one.list.push(3);
  two.list.push(4);
  expect(await cache.get('k')).toEqual({ list: [1] });
  expect(await cache.getOrSet('k', load)).not.toBe(await cache.getOrSet('k', load));
  await cache.set('text', 'x');
  expect(await cache.get('text')).toBe('x');
});

test('none: the same object for all', async () => {
  const cache = new Cache({ copy: 'none' });
  const value = { fn: () => 1 };
  await cache.set('k', value);
  expect(await cache.get('k')).toBe(value);
  expect(Object.isFrozen(value)).toBe(false);
});

test('callers of one load cannot change each other’s value', async () => {
  const cache = new Cache();
  const load = async () => new Map([['a', 1]]);
  const [one, two] = await Promise.all([cache.getOrSet('k', load), cache.getOrSet('k', load)]);
  one.set('a', 2);
  expect(two.get('a')).toBe(1);
});

test('what a tier of the reader’s own process holds cannot be changed through a copy of it', async () => {
  const store = new MapStore();
  const make = () => new Cache({ clock: store.clock, remote: new MapTier(store), copy: 'clone' });
  await make().set('k', { list: [1] });
  for (let n = 0; n < 2; n++) {
    const found = await make().get<{ list: number[] }>('k');
    expect(found).toEqual({ list: [1] });
    found?.list.push(2);
  }
});
