import { Cache } from '@x/cache';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from '../map-tier.ts';

// A process that had stood still while it waited for another's load loaded beside it: it found that the key had changed, or a lease
// that was not over yet, and its own wait was.

/** A tier that does something between a read that found nothing and what follows it. */
class Interrupted extends MapTier {
  afterMiss: (() => Promise<void>) | undefined;

  override async get(key: string) {
    const found = await super.get(key);
    if (found === undefined) await this.afterMiss?.();
    return found;
  }

  override async lease(...asked: Parameters<MapTier['lease']>) {
    const answer = await super.lease(...asked);
    const there = this.at(asked[0]);
    if (answer.state !== 'held' || there === undefined) return answer;
    return { ...answer, leftMs: Math.ceil(there.leasedUntil - this.store_.clock.now()) };
  }
}

function start() {
  const store = new MapStore();
  const tier = new Interrupted(store);
  const other = new MapTier(store);
  let loads = 0;
  const cache = new Cache({ remote: tier, clock: store.clock });
  const read = () => cache.getOrSet('k', () => ++loads && 'own');
  return { store, tier, other, read, loads: () => loads };
}

test('who finds that the key has changed when its wait is over reads what is there', async () => {
  const { store, tier, other, read, loads } = start();
  await other.lease('k', undefined, []);
  const given = read();
  await store.clock.advance(0);
  tier.afterMiss = async () => {
    tier.afterMiss = undefined;
    store.clock.jump(2_000);
    const now = store.clock.wallNow();
    await other.set('k', { value: 'other', storedAt: now, freshUntil: now + 60_000, keepMs: 60_000, tags: [] });
  };
  await store.clock.advance(100);
  expect(await given).toBe('other');
  expect(loads()).toBe(0);
});

test('who sees a lease late waits for as long as it has left', async () => {
  const { store, tier, other, read, loads } = start();
  tier.afterMiss = async () => {
    tier.afterMiss = undefined;
    store.clock.jump(400);
    await other.lease('k', undefined, []);
  };
  const given = read();
  await store.clock.advance(0);
  await store.clock.advance(900);
  expect(loads()).toBe(0);
  await store.clock.advance(200);
  expect(await given).toBe('own');
  expect(loads()).toBe(1);
});
