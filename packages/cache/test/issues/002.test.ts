import { Cache, type LeaseAnswer } from '@x/cache';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from '../map-tier.ts';

// Who waited for a dead holder gave up after `leaseMs` by its own clock, be it a moment before the lease was over: it loaded without a
// lease, beside the one who took the lease over then.

class PunctualTier extends MapTier {
  override async lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    const answer = await super.lease(key, seen, tags);
    const leftMs = (this.at(key)?.leasedUntil ?? 0) - this.store_.clock.now();
    return answer.state === 'held' ? { state: 'held', leftMs } : answer;
  }
}

test('a waiter takes the lease over when it is over, not a moment before', async () => {
  const store = new MapStore();
  const dead = new PunctualTier(store);
  const cache = new Cache({ remote: new PunctualTier(store), clock: store.clock });
  let token = '';
  let loads = 0;
  const waiting = cache.getOrSet('k', () => ++loads);
  // It came to wait just before the lease was renewed for the last time.
  const answer = await dead.lease('k', undefined, []);
  if (answer.state === 'granted') token = answer.token;
  await store.clock.advance(1);
  await dead.renew('k', token);
  for (let ms = 1; ms <= 1_000; ms++) {
    expect([ms, loads]).toEqual([ms, 0]);
    await store.clock.advance(1);
  }
  await store.clock.advance(1);
  expect(loads).toBe(1);
  await waiting;
  expect(store.entries.get('k')?.entry?.value).toBe(1);
});
