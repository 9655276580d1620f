import assert from 'node:assert/strict';
import type { RemoteTier } from '../remote-tier.ts';
import type { CaseContext, Cases } from './remote-tier-contract.ts';
import { written } from './storage-cases.ts';

async function granted(tier: RemoteTier, key: string, tags: readonly string[] = []): Promise<string> {
  const answer = await tier.lease(key, (await tier.get(key))?.version, tags);
  assert.equal(answer.state, 'granted');
  return (answer as { token: string }).token;
}

/** One that an invalidation by the other process defeats, whether or not there was a value before. */
function defeated(invalidate: (tier: RemoteTier) => Promise<unknown>): (context: CaseContext) => Promise<void> {
  return async ({ one, two }) => {
    for (const before of ['nothing', 'a value']) {
      if (before === 'a value') await one.set('k', written('stale', { tags: ['t'], freshUntil: Date.now() - 1 }));
      const token = await granted(one, 'k', ['t']);
      await invalidate(two);
      assert.equal(await one.store('k', token, written('loaded before', { tags: ['t'] })), 'lost', `over ${before}`);
      assert.notEqual((await two.get('k'))?.value, 'loaded before');
    }
  };
}

export const leaseCases: Cases = {
  'a key that is not there is leased to one, who stores it for all': async ({ one, two }) => {
    const token = await granted(one, 'k');
    assert.equal((await two.lease('k', undefined, [])).state, 'held');
    assert.equal(await two.get('k'), undefined);
    assert.equal(await one.store('k', token, written('v')), 'stored');
    assert.equal((await two.get('k'))?.value, 'v');
  },
  'of many who ask at once one is granted the lease': async ({ one, two }) => {
    const asked = Array.from({ length: 20 }, (_, n) => (n % 2 ? one : two).lease('k', undefined, ['t']));
    const states = (await Promise.all(asked)).map(({ state }) => state);
    assert.equal(states.filter((state) => state === 'granted').length, 1);
    assert.equal(states.filter((state) => state === 'held').length, 19);
  },
  'a value stays readable while it is refreshed': async ({ one, two }) => {
    await one.set('k', written('old', { tags: ['t'] }));
    const token = await granted(one, 'k', ['t']);
    assert.equal((await two.get('k'))?.value, 'old');
    assert.equal((await two.lease('k', (await two.get('k'))?.version, [])).state, 'held');
    assert.equal(await one.store('k', token, written('new', { tags: ['t'] })), 'stored');
    assert.equal((await two.get('k'))?.value, 'new');
  },
  'who saw another version than stands there is told so': async ({ one, two }) => {
    await one.set('k', written('old'));
    const seen = (await one.get('k'))?.version;
    await two.set('k', written('new'));
    assert.deepEqual(await one.lease('k', seen, []), { state: 'changed' });
    assert.deepEqual(await one.lease('k', undefined, []), { state: 'changed' });
  },
  'a lease given back is there for others': async ({ one, two }) => {
    await one.release('k', await granted(one, 'k'));
    await two.release('k', await granted(two, 'k'));
    await one.set('k', written('v'));
    await one.release('k', await granted(one, 'k'));
    assert.equal((await two.get('k'))?.value, 'v');
    await granted(two, 'k');
  },
  'a lease is over when its time is, and what its holder then stores is lost': async ({ one, two, elapse }) => {
    for (const before of ['nothing', 'a value']) {
      if (before === 'a value') await one.set('k', written('stale'));
      const token = await granted(one, 'k');
      await elapse(one.leaseMs + 50);
      const other = await granted(two, 'k');
      assert.equal(await one.store('k', token, written('late')), 'lost');
      await one.release('k', token);
      assert.equal(await two.store('k', other, written('v')), 'stored');
      await two.delete(['k']);
    }
  },
  'a lease that is renewed goes on': async ({ one, two, elapse }) => {
    for (const before of ['nothing', 'a value']) {
      if (before === 'a value') await one.set('k', written('stale'));
      const token = await granted(one, 'k');
      for (let n = 0; n < 4; n++) {
        await elapse(one.leaseMs / 2);
        await one.renew('k', token);
      }
      assert.equal((await two.lease('k', (await two.get('k'))?.version, [])).state, 'held');
      assert.equal(await one.store('k', token, written('v')), 'stored');
      await two.delete(['k']);
    }
  },
  'renew and release do nothing to a lease that is another’s': async ({ one, two }) => {
    const token = await granted(two, 'k');
    await one.renew('k', 'not the token');
    await one.release('k', 'not the token');
    assert.equal(await one.store('k', 'not the token', written('x')), 'lost');
    assert.equal(await two.store('k', token, written('v')), 'stored');
    assert.equal(await two.store('k', token, written('again')), 'lost', 'a token is good for one store');
  },
  'delete defeats a load': defeated((tier) => tier.delete(['k'])),
  'expire defeats a load': defeated((tier) => tier.expire(['k'])),
  'set defeats a load': defeated((tier) => tier.set('k', written('set meanwhile', { tags: ['t'] }))),
  'deleteByTag defeats a load that will have the tag': defeated((tier) => tier.deleteByTag(['t'])),
  'deleteByPattern defeats a load': defeated((tier) => tier.deleteByPattern('k*')),
  'clear defeats a load': defeated((tier) => tier.clear()),
};
