import { Cache, type CacheOptions, type LeaseAnswer, type RemoteEntry, type RemoteListener } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { expect, test, vi } from 'vitest';
import { MapStore, MapTier } from './map-tier.ts';

/** A tier whose answers to `get` the test gives: what was read comes late. */
class SlowTier extends MapTier {
  readonly answers: (() => void)[] = [];

  override async get(key: string): Promise<RemoteEntry | undefined> {
    const found = await super.get(key);
    await new Promise<void>((resolve) => this.answers.push(resolve));
    return found;
  }
}

function start(options: CacheOptions = {}) {
  const store = new MapStore();
  const [slow, other] = [new SlowTier(store), new MapTier(store)];
  const cache = new Cache({ clock: store.clock, remote: slow, ...options });
  const writer = new Cache({ clock: store.clock, remote: other });
  return { store, slow, other, cache, writer };
}

const changes: [string, (writer: Cache) => Promise<unknown>][] = [
  ['set', (writer) => writer.set('k', 'new', { tags: ['t'] })],
  ['delete', (writer) => writer.delete('k')],
  ['deleteByTag', (writer) => writer.deleteByTag('t')],
  ['deleteByPattern', (writer) => writer.deleteByPattern('k*')],
  ['clear', (writer) => writer.clear()],
];

test.each(changes)('an answer that comes after the news of a %s is not kept', async (_, change) => {
  const { store, slow, cache, writer } = start();
  await writer.set('k', 'old', { tags: ['t'] });
  const reading = cache.get('k');
  await store.clock.advance(0);
  await change(writer);
  slow.answers[0]?.();
  expect(await reading).toBe('old');
  expect(cache.peek('k')).toBeUndefined();
});

test.each(changes)(
  'a load without a lease does not keep what a %s elsewhere has overtaken, nor share it with later callers',
  async (_, change) => {
    const { store, slow, cache, writer } = start();
    slow.lease = async () => ({ state: 'unavailable' });
    let finish: (value: string) => void = () => {};
    const first = cache.getOrSet('k', () => new Promise<string>((resolve) => (finish = resolve)), { tags: ['t'] });
    await store.clock.advance(0);
    slow.answers[0]?.();
    await store.clock.advance(0);
    await change(writer);
    const second = cache.getOrSet('k', () => 'loaded later', { tags: ['t'] });
    await store.clock.advance(0);
    slow.answers[1]?.();
    expect(await second).not.toBe('old');
    finish('old');
    expect(await first).toBe('old');
    expect(cache.peek('k')).not.toBe('old');
  },
);

test('who waits for another process’s load is woken by its end', async () => {
  const { store, slow, other, cache } = start();
  const lease = await other.lease('k', undefined, []);
  const waiting = cache.getOrSet('k', () => 'not loaded');
  await store.clock.advance(0);
  slow.answers[0]?.();
  await store.clock.advance(0);
  const storedAt = store.clock.wallNow();
  const entry = { value: 'loaded', storedAt, freshUntil: storedAt + 1_000, keepMs: 1_000, tags: [] };
  await other.store('k', (lease as { token: string }).token, entry);
  // No time has passed.
  await store.clock.advance(0);
  slow.answers[1]?.();
  expect(await waiting).toBe('loaded');
  expect(cache.peek('k')).toBe('loaded');
});

test('while nothing is heard, nothing lives on by being read alone', async () => {
  const { store, cache, writer, slow } = start({ sliding: true, ttlMs: 10_000 });
  await writer.close();
  await cache.set('map', new Map([[1, 2]]));
  // Its signs of life do not get through.
  store.clock.jump(slow.maxLagMs);
  expect(cache.peek('map')).toBeUndefined();
  slow.get = async () => undefined;
  expect(await cache.getOrSet('map', () => new Map([[3, 4]]))).toEqual(new Map([[3, 4]]));
  for (let n = 0; n < 3; n++) {
    store.clock.jump(slow.maxLagMs / 4);
    expect(await cache.get('map')).toEqual(new Map([[3, 4]]));
  }
  store.clock.jump(slow.maxLagMs / 4);
  expect(cache.peek('map')).toBeUndefined();
});

test('what came while nothing was heard is not believed when it is heard again, nor what was on its way then', async () => {
  const store = new MapStore();
  const tier = new SlowTier(store);
  let listener: RemoteListener | undefined;
  const cache = new Cache({
    clock: store.clock,
    remote: Object.assign(tier, {
      subscribe: (heard: RemoteListener) => {
        listener = heard;
        return () => {};
      },
    }),
  });
  const states: string[] = [];
  cache.on('coherence', ({ state }) => states.push(state));
  listener?.back();
  await cache.set('k', 1);
  listener?.lost(new Error('cut'));
  expect(cache.peek('k')).toBeUndefined();
  await cache.set('k', 2);
  expect(cache.peek('k')).toBe(2);
  const reading = cache.get('read');
  await store.clock.advance(0);
  listener?.current(0);
  expect(states).toEqual(['coherent', 'isolated']);
  listener?.back();
  expect(cache.peek('k')).toBeUndefined();
  await cache.set('k', 3);
  tier.answers[0]?.();
  await reading;
  expect(cache.peek('k')).toBe(3);
  expect(states).toEqual(['coherent', 'isolated', 'coherent']);
});

test('two processes that write one key in turns never keep what the other has overwritten', async () => {
  const service = await startRedis();
  const clients = [new Redis(service.url), new Redis(service.url)] as const;
  const caches = clients.map((client) => new Cache({ remote: new RedisTier({ client, prefix: 'turns:' }) }));
  try {
    await Promise.all(caches.map((cache) => new Promise((resolve) => cache.on('coherence', resolve))));
    for (let round = 0; round < 60; round++) {
      const key = `k${round % 4}`;
      const [first, second] = round % 2 ? [0, 1] : [1, 0];
      // In one turn of the server, or close to it: it may tell of both at once.
      await Promise.all([caches[first]?.set(key, `${round} first`), caches[second]?.set(key, `${round} second`)]);
      const stored = String(await clients[0].get(`turns:${key}`));
      const value = JSON.parse(stored.slice(52))[3];
      await vi.waitFor(
        () => {
          for (const cache of caches) expect(cache.peek(key) ?? value).toBe(value);
        },
        { interval: 1 },
      );
      // Whoever wrote last keeps what it wrote.
      const writer = value === `${round} first` ? first : second;
      expect(caches[writer]?.peek(key)).toBe(value);
    }
  } finally {
    await Promise.all(caches.map((cache) => cache.close()));
    for (const client of clients) client.disconnect();
    await service[Symbol.asyncDispose]();
  }
});

/** Tells nothing but what the test has it tell. */
class SilentTier extends MapTier {
  listener: RemoteListener | undefined;

  override readonly subscribe = (listener: RemoteListener) => {
    this.listener = listener;
    listener.back();
    return () => {};
  };

  override async get(): Promise<RemoteEntry | undefined> {
    return undefined;
  }

  override async lease(): Promise<LeaseAnswer> {
    return { state: 'unavailable' };
  }
}

function startSilent(options: CacheOptions = {}) {
  const store = new MapStore();
  const tier = new SilentTier(store);
  const cache = new Cache({ clock: store.clock, remote: tier, ttlMs: 60_000, ...options });
  return { clock: store.clock, listener: tier.listener as RemoteListener, cache };
}

test('without a sign of life memory is believed for maxLagMs, and not a moment longer', async () => {
  const { clock, listener, cache } = startSilent();
  await cache.set('k', 'kept');
  await clock.advance(1_999);
  expect([cache.peek('k'), await cache.get('k')]).toEqual(['kept', 'kept']);
  await clock.advance(1);
  expect([cache.peek('k'), await cache.get('k'), cache.stats().hitsMemory]).toEqual([undefined, undefined, 1]);
  // Nor does a sign of life from before make up for that.
  listener.current(2_000);
  expect(cache.peek('k')).toBeUndefined();
});

test('what may have been changed unheard is stale from now on, and no stale window becomes longer', async () => {
  const { clock, listener, cache } = startSilent({ staleIfErrorMs: 100 });
  await cache.set('over', 'over', { ttlMs: 10 });
  await clock.advance(60);
  await cache.set('fresh', 'fresh');
  await cache.set('sliding', 'sliding', { sliding: true });
  listener.lost(new Error('gone'));
  listener.back();
  const found = await Promise.all(['over', 'fresh', 'sliding'].map((key) => cache.lookup(key)));
  expect(found.map((entry) => entry?.stale)).toEqual([true, true, true]);
  expect([await cache.get('fresh'), await cache.get('sliding')]).toEqual([undefined, undefined]);
  const failing = (key: string) => cache.getOrSet(key, () => Promise.reject(new Error('down'))).catch(() => 'none');
  await clock.advance(50);
  expect(await Promise.all(['over', 'fresh'].map(failing))).toEqual(['none', 'fresh']);
  await clock.advance(50);
  expect(await failing('fresh')).toBe('none');
});

test('of several reads of one key that a change overtakes none is kept', async () => {
  const { store, slow, cache, writer } = start();
  await writer.set('k', 'old');
  const reads = [cache.get('k'), cache.get('k'), cache.get('k')];
  await store.clock.advance(0);
  await cache.delete('k');
  for (const answer of slow.answers) answer();
  expect(await Promise.all(reads)).toEqual(['old', 'old', 'old']);
  expect(cache.peek('k')).toBeUndefined();
});

test('a stale value that was deleted on its way here does not stand in for a load, failed or not', async () => {
  for (const options of [{ staleIfErrorMs: 60_000 }, { staleWhileRevalidateMs: 60_000 }]) {
    const { store, slow, cache, writer } = start(options);
    await writer.set('k', 'old', { ttlMs: 10, ...options });
    await store.clock.advance(20);
    const reading = cache.getOrSet('k', () => Promise.reject(new Error('down')));
    const failed = expect(reading).rejects.toThrow('down');
    await store.clock.advance(0);
    await writer.delete('k');
    slow.answers[0]?.();
    await store.clock.advance(0);
    await failed;
  }
});
