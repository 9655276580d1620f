import type { LeaseAnswer, RemoteEntry, RemoteListener, RemoteTier, RemoteWrite } from '@x/cache';
import { ManualClock } from '@x/testkit';

interface Stored {
  entry?: RemoteEntry | undefined;
  goneAt: number;
  token?: string | undefined;
  leasedUntil: number;
}

/** What the tiers of all processes share. */
export class MapStore {
  readonly clock: ManualClock = new ManualClock({ wallNow: Date.now() });
  readonly entries = new Map<string, Stored>();
  readonly tagged = new Map<string, Set<string>>();
  readonly tiers = new Set<MapTier>();
  versions = 0;
}

/** The smallest remote tier that keeps the contract: maps in place of a server, for the tests of the contract itself. */
export class MapTier implements RemoteTier {
  readonly leaseMs = 1_000;
  readonly maxLagMs = 2_000;
  readonly store_: MapStore;
  #listener: RemoteListener | undefined;

  constructor(store: MapStore) {
    this.store_ = store;
    store.tiers.add(this);
  }

  readonly subscribe: NonNullable<RemoteTier['subscribe']> = (listener) => {
    this.#listener = listener;
    listener.back();
    const { clock } = this.store_;
    const beat = () => {
      this.#listener?.current(0);
      timer = clock.setTimeout(beat, this.maxLagMs / 4);
    };
    let timer = clock.setTimeout(beat, this.maxLagMs / 4);
    return () => {
      this.#listener = undefined;
      clock.clearTimeout(timer);
    };
  };

  async get(key: string): Promise<RemoteEntry | undefined> {
    return this.at(key)?.entry;
  }

  async getMany(keys: readonly string[]): Promise<(RemoteEntry | undefined)[]> {
    return keys.map((key) => this.at(key)?.entry);
  }

  async lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    const now = this.store_.clock.now();
    const there = this.at(key);
    if (there?.token !== undefined && there.leasedUntil > now) return { state: 'held' };
    if (there?.entry !== undefined && there.entry.version !== seen) return { state: 'changed' };
    const token = this.version();
    const leasedUntil = now + this.leaseMs;
    const entry = there?.entry && { ...there.entry, version: token };
    this.note(key, tags);
    this.store_.entries.set(key, { entry, goneAt: there?.entry ? there.goneAt : leasedUntil, token, leasedUntil });
    return { state: 'granted', token };
  }

  async renew(key: string, token: string): Promise<void> {
    const there = this.at(key);
    if (there?.token !== token) return;
    there.leasedUntil = this.store_.clock.now() + this.leaseMs;
    if (there.entry === undefined) there.goneAt = there.leasedUntil;
  }

  async release(key: string, token: string): Promise<void> {
    const there = this.at(key);
    if (there?.token !== token) return;
    there.token = undefined;
    if (there.entry === undefined) this.store_.entries.delete(key);
  }

  async store(key: string, token: string, entry: RemoteWrite): Promise<'stored' | 'lost' | 'unavailable'> {
    if (this.at(key)?.token !== token) return 'lost';
    await this.set(key, entry);
    return 'stored';
  }

  async set(key: string, entry: RemoteWrite): Promise<void> {
    const { keepMs, ...rest } = structuredClone(entry);
    this.note(key, entry.tags);
    this.store_.entries.set(key, {
      entry: { ...rest, version: this.version() },
      goneAt: this.store_.clock.now() + keepMs,
      leasedUntil: 0,
    });
    this.tell((listener) => listener.changed([key]));
  }

  async delete(keys: readonly string[]): Promise<number> {
    let deleted = 0;
    for (const key of keys) if (this.at(key) !== undefined && this.store_.entries.delete(key)) deleted++;
    this.tell((listener) => listener.changed(keys));
    return deleted;
  }

  async expire(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const there = this.at(key);
      if (there === undefined) continue;
      if (there.entry === undefined) this.store_.entries.delete(key);
      else {
        const freshUntil = Math.min(there.entry.freshUntil, this.store_.clock.wallNow());
        there.entry = { ...there.entry, freshUntil, version: this.version() };
        there.token = undefined;
      }
    }
    this.tell((listener) => listener.changed(keys));
  }

  async deleteByTag(tags: readonly string[]): Promise<void> {
    for (const tag of tags) {
      for (const key of this.store_.tagged.get(tag) ?? []) this.store_.entries.delete(key);
      this.store_.tagged.delete(tag);
    }
    this.tell((listener) => listener.tagsChanged(tags));
  }

  async deleteByPattern(pattern: string): Promise<number> {
    const pieces = pattern
      .split(/(?<!\\)\*/)
      .map((piece) => piece.replaceAll('\\*', '*').replace(/[*+.?[\\\]^{|}]/g, '\\$&'));
    const matcher = new RegExp(`^${pieces.join('.*')}$`, 'su');
    const keys = [...this.store_.entries.keys()].filter((key) => matcher.test(key) && this.at(key) !== undefined);
    for (const key of keys) this.store_.entries.delete(key);
    this.tell((listener) => listener.patternChanged(pattern));
    return keys.length;
  }

  async clear(): Promise<void> {
    this.store_.entries.clear();
    this.tell((listener) => listener.everythingChanged());
  }

  async close(): Promise<void> {
    this.store_.tiers.delete(this);
  }

  protected at(key: string): Stored | undefined {
    const there = this.store_.entries.get(key);
    if (there !== undefined && there.goneAt <= this.store_.clock.now()) this.store_.entries.delete(key);
    return this.store_.entries.get(key);
  }

  protected note(key: string, tags: readonly string[]): void {
    for (const tag of tags) {
      const keys = this.store_.tagged.get(tag) ?? new Set();
      this.store_.tagged.set(tag, keys.add(key));
    }
  }

  protected version(): string {
    return `v${++this.store_.versions}`;
  }

  protected tell(what: (listener: RemoteListener) => void): void {
    for (const tier of this.store_.tiers) {
      const listener = tier.#listener;
      if (tier !== this && listener !== undefined) what(listener);
    }
  }
}
