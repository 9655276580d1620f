import { Cache } from '@x/cache';
import { cachedTool } from '@x/cache/mcp';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { collectGarbage } from './garbage.ts';

const many = (n: number) => Array.from({ length: n }, (_, index) => `k${index}`);
const kept = async (scope: { peek(key: string): unknown }, keys: readonly string[]) =>
  keys.filter((key) => scope.peek(key) !== undefined).length;

describe.each(['lru', 's3-fifo'] as const)('with policy %s', (policy) => {
  test('a tenant that floods the cache pushes out its own, once others want the room', async () => {
    const cache = new Cache({ maxEntries: 100, maxScopeShare: 0.5, policy });
    const [flooding, quiet] = [cache.scope('flooding'), cache.scope('quiet')];
    for (const key of many(30)) await quiet.set(key, 1);
    for (const key of many(10)) await cache.set(key, 'in no scope');
    for (const key of many(1_000)) await flooding.set(key, 1);
    expect(await kept(quiet, many(30))).toBe(30);
    expect(await kept(cache, many(10))).toBe(10);
    expect(await kept(flooding, many(1_000))).toBe(60);
    // Beyond its share it gives way to whoever comes.
    for (const key of many(40)) await quiet.set(key, 1);
    expect(await kept(quiet, many(40))).toBe(40);
    expect(await kept(flooding, many(1_000))).toBe(50);
  });

  test('what a tenant uses stays, of its own', async () => {
    const cache = new Cache({ maxEntries: 100, maxScopeShare: 0.2, policy });
    await cache.set('other', 1);
    for (const key of many(79)) await cache.scope('quiet').set(key, 1);
    const tenant = cache.scope('tenant');
    await tenant.set('hot', 1);
    for (const key of many(500)) {
      await tenant.set(key, 1);
      expect(await tenant.get('hot')).toBe(1);
    }
  });

  test('bytes have shares too', async () => {
    const cache = new Cache({ maxBytes: 1_000_000, maxScopeShare: 0.25, policy });
    const [flooding, quiet] = [cache.scope('flooding'), cache.scope('quiet')];
    await quiet.set('k', 'x'.repeat(200_000));
    for (const key of many(100)) await flooding.set(key, 'x'.repeat(50_000));
    expect(quiet.peek('k')).toBeDefined();
    for (let n = 0; n < 3; n++) await cache.set(`root${n}`, 'x'.repeat(150_000));
    expect(await kept(cache, ['root0', 'root1', 'root2'])).toBe(3);
    expect(await kept(flooding, many(100))).toBe(6);
    expect(quiet.peek('k')).toBeDefined();
  });
});

test('the first part of a scope holds the share: subjects and scopes within it count for their tenant', async () => {
  const cache = new Cache({ maxEntries: 100, maxScopeShare: 0.1 });
  for (const key of many(50)) await cache.set(key, 1);
  for (let subject = 0; subject < 100; subject++) {
    await cache.scope('tenant', subject).set('a', 1);
    await cache.scope('tenant').scope(subject, 'deeper').set('b', 1);
    await cache.scope('tenant').set(`k${subject}`, 1);
  }
  expect(await kept(cache, many(50))).toBe(50);
  expect(cache.stats().entries).toBe(100);
});

test('each user of a cached tool has a share', async () => {
  const cache = new Cache({ maxEntries: 200, maxScopeShare: 0.1 });
  const handler = async (_: { n: number }, __: { authInfo: { extra: { sub: string } } }) => ({ content: [] });
  const tool = cachedTool(cache, handler, { name: 't', readOnly: true });
  const by = (sub: string) => ({ authInfo: { extra: { sub } } });
  for (let n = 0; n < 15; n++) await tool({ n }, by('quiet'));
  for (let n = 0; n < 1_000; n++) await tool({ n }, by('flooding'));
  const { hitsMemory } = cache.stats();
  for (let n = 0; n < 15; n++) await tool({ n }, by('quiet'));
  expect(cache.stats().hitsMemory - hitsMemory).toBe(15);
});

test('a key outside scopes cannot pass for one within', async () => {
  const cache = new Cache();
  await cache.scope('a', 'b').set('k', 1);
  await cache.scope('a').set('k', 2);
  expect(await cache.scope('a').deleteByPattern('*')).toBe(1);
  expect(await cache.scope('a', 'b').get('k')).toBe(1);
});

test('nobody within a share loses an entry while another is beyond theirs', async () => {
  const limit = 5;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('lru' as const, 's3-fifo' as const),
      fc.array(
        fc.record({
          who: fc.constantFrom('a', 'b', 'c', ''),
          key: fc.constantFrom(...many(12)),
          what: fc.constantFrom('set', 'set', 'set', 'get', 'delete'),
        }),
        { maxLength: 120, size: 'max' },
      ),
      async (policy, steps) => {
        const cache = new Cache({ maxEntries: 16, maxScopeShare: limit / 16, policy });
        const scopes = Object.fromEntries(['a', 'b', 'c'].map((name) => [name, cache.scope(name)]));
        const sizes = async () => Promise.all(['a', 'b', 'c', ''].map((name) => kept(scopes[name] ?? cache, many(12))));
        let before = await sizes();
        for (const { who, key, what } of steps) {
          const scope = scopes[who] ?? cache;
          const isNew = scope.peek(key) === undefined;
          if (what === 'set') await scope.set(key, 1);
          else if (what === 'get') await scope.get(key);
          else await scope.delete(key);
          const after = await sizes();
          expect(after.reduce((sum, size) => sum + size, 0)).toBe(cache.stats().entries);
          expect(cache.stats().entries).toBeLessThanOrEqual(16);
          if (what === 'set') {
            const at = ['a', 'b', 'c', ''].indexOf(who);
            const grown = before.map((size, index) => size + (index === at && isNew ? 1 : 0));
            const losers = grown.flatMap((size, index) => ((after[index] as number) < size ? [index] : []));
            const greedy = grown.flatMap((size, index) => (index < 3 && size > limit ? [index] : []));
            // Whoever comes while beyond a share pays for it; otherwise anybody who is beyond theirs.
            if (losers.length > 0 && greedy.length > 0) expect(greedy).toContain(losers[0]);
            if (losers.length > 0 && greedy.includes(at)) expect(losers).toEqual([at]);
          }
          before = after;
        }
        await cache.clear();
        expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
      },
    ),
    { numRuns: 150 },
  );
});

test('bytes that a tenant gave back are not held against it', async () => {
  const cache = new Cache({ maxBytes: 10_000, maxScopeShare: 0.5, policy: 'lru' });
  const tenant = cache.scope('tenant');
  await cache.set('first', 'x'.repeat(900));
  await tenant.set('small', 'x');
  await tenant.set('large', 'x'.repeat(6_000));
  await tenant.delete('large');
  for (const key of many(9)) await cache.set(key, 'x'.repeat(900));
  expect(cache.peek('first')).toBeUndefined();
  expect(tenant.peek('small')).toBe('x');
});

test('what a tenant writes again stays, of its own', async () => {
  const cache = new Cache({ maxEntries: 10, maxScopeShare: 0.3, policy: 'lru' });
  for (const key of many(10)) await cache.set(key, 1);
  const tenant = cache.scope('tenant');
  for (const key of many(50)) {
    await tenant.set('hot', key);
    await tenant.set(key, 1);
    expect(tenant.peek('hot')).toBe(key);
  }
});

test('what is served stale to a tenant stays, of its own', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock, maxEntries: 10, maxScopeShare: 0.2, policy: 'lru', staleWhileRevalidateMs: 1_000 });
  for (const key of many(10)) await cache.set(key, 1);
  const tenant = cache.scope('tenant');
  for (const key of ['a', 'b']) await tenant.set(key, key, { ttlMs: 10 });
  await clock.advance(20);
  expect(await tenant.getOrSet('a', () => new Promise(() => {}))).toBe('a');
  await tenant.set('c', 'c');
  expect([(await tenant.lookup('a'))?.value, await tenant.lookup('b')]).toEqual(['a', undefined]);
});

test('what tenants had before a clear is not held against them', async () => {
  const cache = new Cache({ maxEntries: 4, maxScopeShare: 0.5, policy: 'lru' });
  const tenant = cache.scope('tenant');
  for (const key of many(4)) await tenant.set(key, 1);
  await tenant.get('k0');
  await cache.clear();
  for (const key of many(5)) await cache.set(key, 1);
  expect(many(5).map((key) => cache.peek(key) !== undefined)).toEqual([false, true, true, true, true]);
  await cache.clear();
  for (const key of many(4)) await tenant.set(key, 1);
  await tenant.get('k0');
  await cache.clear();
  await tenant.set('oldest', 1);
  for (const key of many(4)) await cache.set(key, 1);
  expect([await kept(tenant, ['oldest']), await kept(cache, many(4))]).toEqual([0, 4]);
});

test('whoever would be beyond a share of the bytes pays, though others are beyond theirs', async () => {
  const cache = new Cache({ maxBytes: 10_500, maxScopeShare: 0.3, policy: 'lru' });
  const [greedy, tenant] = [cache.scope('greedy'), cache.scope('tenant')];
  const value = 'x'.repeat(820);
  for (const key of many(7)) await greedy.set(key, value);
  for (const key of many(3)) await tenant.set(key, value);
  expect(cache.stats()).toMatchObject({ entries: 10, evictions: 0 });
  await tenant.set('newcomer', value);
  expect(await kept(greedy, many(7))).toBe(7);
  expect(await kept(tenant, ['newcomer', ...many(3)])).toBe(3);
});

test('what a tenant writes again counts once', async () => {
  const cache = new Cache({ maxBytes: 10_000, maxScopeShare: 0.5, policy: 'lru' });
  const tenant = cache.scope('tenant');
  await cache.set('first', 'x'.repeat(900));
  for (let n = 0; n < 20; n++) await tenant.set('k', 'x'.repeat(900));
  for (const key of many(9)) await cache.set(key, 'x'.repeat(900));
  expect(cache.peek('first')).toBeUndefined();
  expect(tenant.peek('k')).toBeDefined();
});

test('a tenant that has nothing any more takes no room', async () => {
  const cache = new Cache({ maxEntries: 10, maxScopeShare: 0.5 });
  const heap = () => {
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const come = async (tenants: number) => {
    for (let n = 0; n < tenants; n++) await cache.scope(`tenant ${n} of many`).set('k', n);
  };
  await come(5_000);
  const before = heap();
  await come(50_000);
  // A name and what each holds would be more than 10 MB.
  expect(heap() - before).toBeLessThan(4_000_000);
});

test('a share is one entry at least', async () => {
  const cache = new Cache({ maxEntries: 10, maxScopeShare: 0.05, policy: 'lru' });
  await cache.set('oldest', 1);
  await cache.scope('tenant').set('k', 1);
  for (const key of many(9)) await cache.set(key, 1);
  expect([cache.peek('oldest'), cache.scope('tenant').peek('k')]).toEqual([undefined, 1]);
});
