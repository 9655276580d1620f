import { Cache, type RemoteEntry, type RemoteListener } from '@x/cache';
import { expect, test } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

/** Tells the test what the cache says it holds. */
class AskingTier extends MapTier {
  listener: RemoteListener | undefined;

  override readonly subscribe = (listener: RemoteListener) => {
    this.listener = listener;
    listener.back();
    return () => {};
  };
}

class FailingTier extends AskingTier {
  override async get(): Promise<RemoteEntry | undefined> {
    throw new Error('gone');
  }
}

class ThrowingTier extends AskingTier {
  override get(): Promise<RemoteEntry | undefined> {
    throw new Error('gone at once');
  }
}

const tiers: [string, new (store: MapStore) => AskingTier][] = [
  ['finds nothing', AskingTier],
  ['fails', FailingTier],
  ['throws', ThrowingTier],
];

test.each(tiers)('a read that %s holds its key while it is under way, and no longer', async (_, Tier) => {
  const store = new MapStore();
  const tier = new Tier(store);
  const cache = new Cache({ clock: store.clock, remote: tier });
  const reads: (() => Promise<unknown>)[] = [
    () => cache.get('k'),
    () => cache.lookup('k'),
    () => cache.getOrSet('k', () => undefined),
  ];
  for (const read of reads) {
    const reading = read();
    expect(tier.listener?.holds('k')).toBe(true);
    expect(await reading).toBeUndefined();
    expect(tier.listener?.holds('k')).toBe(false);
  }
});
