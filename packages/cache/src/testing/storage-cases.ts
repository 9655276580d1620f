import assert from 'node:assert/strict';
import type { RemoteWrite } from '../remote-tier.ts';
import type { Cases } from './remote-tier-contract.ts';

/** An entry that is fresh for a minute. */
export function written(value: unknown, fields: Partial<RemoteWrite> = {}): RemoteWrite {
  const storedAt = Date.now();
  return { value, storedAt, freshUntil: storedAt + 60_000, keepMs: 120_000, tags: [], ...fields };
}

const VALUES: readonly unknown[] = [
  null,
  false,
  0,
  '',
  'ünï \u{1f600}',
  -1.5e-7,
  [],
  {},
  [1, [null, 'x'], { a: { b: [] } }],
  JSON.parse('{"__proto__":{"a":1},"constructor":2}'),
];

const KEYS = ['plain', 'with space', 'a:b:c', '*', '\\*', '[x]?', '{tag}', 'ünï', '__proto__', 'constructor'];

export const storageCases: Cases = {
  'every JSON value comes back to every process with its times and tags': async ({ one, two }) => {
    for (const value of VALUES) {
      const entry = written(value, { tags: ['a', 'ü'], loadMs: 12 });
      await one.set('k', entry);
      const found = await two.get('k');
      assert.deepEqual(found?.value, value);
      assert.deepEqual(
        { storedAt: found?.storedAt, freshUntil: found?.freshUntil, tags: found?.tags, loadMs: found?.loadMs },
        { storedAt: entry.storedAt, freshUntil: entry.freshUntil, tags: ['a', 'ü'], loadMs: 12 },
      );
    }
  },
  'what was never written is not there': async ({ one }) => {
    for (const key of KEYS) assert.equal(await one.get(key), undefined);
  },
  'keys are told apart, whatever they are made of': async ({ one, two }) => {
    for (const key of KEYS) await one.set(key, written(key));
    assert.deepEqual(
      (await two.getMany(KEYS)).map((found) => found?.value),
      KEYS,
    );
  },
  'getMany answers in order, with undefined for what is not there and twice for what is asked twice': async ({
    one,
  }) => {
    await one.set('a', written(1));
    await one.set('b', written(2));
    const found = await one.getMany(['b', 'none', 'a', 'b']);
    assert.deepEqual(
      found.map((entry) => entry?.value),
      [2, undefined, 1, 2],
    );
    assert.deepEqual(await one.getMany([]), []);
  },
  'an entry without end is fresh without end': async ({ one, two }) => {
    const forever = Number.POSITIVE_INFINITY;
    await one.set('k', written(1, { freshUntil: forever, keepMs: forever }));
    assert.equal((await two.get('k'))?.freshUntil, forever);
  },
  'set overwrites the value and its tags': async ({ one, two }) => {
    await one.set('k', written('old', { tags: ['old'] }));
    await two.set('k', written('new', { tags: ['new'] }));
    assert.deepEqual((await one.get('k'))?.tags, ['new']);
    await one.deleteByTag(['new']);
    assert.equal(await two.get('k'), undefined);
  },
  'an entry is gone when its time to be kept is over': async ({ one, two, elapse }) => {
    await one.set('k', written(1, { keepMs: 50 }));
    await one.set('kept', written(1));
    await elapse(100);
    assert.equal(await two.get('k'), undefined);
    assert.notEqual(await two.get('kept'), undefined);
  },
  'the version changes with each write and expiry': async ({ one, two }) => {
    const versions = new Set<string | undefined>();
    for (let n = 0; n < 3; n++) {
      await one.set('k', written('the same'));
      versions.add((await two.get('k'))?.version);
    }
    await one.expire(['k']);
    versions.add((await two.get('k'))?.version);
    assert.equal(versions.size, 4);
    assert.equal((await one.get('k'))?.version, (await two.get('k'))?.version);
  },
  'delete takes away what is named, and says how many there were': async ({ one, two }) => {
    for (const key of ['a', 'b', 'c']) await one.set(key, written(key));
    assert.equal(await two.delete(['a', 'none', 'b']), 2);
    assert.deepEqual(
      (await one.getMany(['a', 'b', 'c'])).map((found) => found?.value),
      [undefined, undefined, 'c'],
    );
    assert.equal(await one.delete([]), 0);
  },
  'expire makes stale and keeps; it does not bring to life': async ({ one, two }) => {
    await one.set('k', written('v', { tags: ['t'] }));
    await two.expire(['k', 'none']);
    const found = await one.get('k');
    assert.equal(found?.value, 'v');
    assert.deepEqual(found.tags, ['t']);
    assert.ok(found.freshUntil <= Date.now() + 1_000, 'an expired entry must be stale');
    assert.equal(await one.get('none'), undefined);
    const past = found.freshUntil;
    await two.expire(['k']);
    assert.ok(((await one.get('k'))?.freshUntil ?? 0) <= past, 'expire must not make anything fresher');
  },
  'deleteByTag takes away all that have one of the tags, whoever wrote them': async ({ one, two }) => {
    await one.set('a', written(1, { tags: ['x', 'y'] }));
    await two.set('b', written(2, { tags: ['y'] }));
    await two.set('c', written(3, { tags: ['z'] }));
    await one.set('d', written(4));
    await one.deleteByTag(['x', 'z']);
    assert.deepEqual(
      (await two.getMany(['a', 'b', 'c', 'd'])).map((found) => found?.value),
      [undefined, 2, undefined, 4],
    );
    await two.deleteByTag(['y', 'none']);
    assert.equal(await one.get('b'), undefined);
  },
  'in a pattern * stands for any run of characters, and everything else for itself': async ({ one, two }) => {
    for (const key of ['user:1', 'user:*', 'user:', 'xuser:1', 'u?er:1', 'user:1:b']) await one.set(key, written(key));
    assert.equal(await two.deleteByPattern('u?er:*'), 1);
    assert.equal(await two.deleteByPattern('user:\\*'), 1);
    assert.equal(await two.deleteByPattern('user:*b'), 1);
    assert.equal(await two.deleteByPattern('user:*'), 2);
    assert.equal((await one.get('xuser:1'))?.value, 'xuser:1');
    assert.equal(await two.deleteByPattern('none*'), 0);
  },
  'clear takes everything away': async ({ one, two }) => {
    for (const key of KEYS) await one.set(key, written(key, { tags: ['t'] }));
    await two.clear();
    assert.deepEqual(
      await one.getMany(KEYS),
      KEYS.map(() => undefined),
    );
  },
  'writes of one process take effect in the order of their calls': async ({ one, two }) => {
    const last = written('last', { tags: ['t'] });
    await Promise.all([
      one.set('k', written('x'.repeat(100_000), { tags: ['t', 'u'] })),
      one.delete(['k']),
      one.set('k', written('second')),
      one.set('k', last),
    ]);
    assert.equal((await two.get('k'))?.value, 'last');
    await Promise.all([one.set('gone', last), one.delete(['gone'])]);
    assert.equal(await two.get('gone'), undefined);
  },
};
