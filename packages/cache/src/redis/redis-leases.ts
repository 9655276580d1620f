import type { LeaseAnswer, RemoteWrite } from '../remote-tier.ts';
import type { ChangeFeed } from './change-feed.ts';
import { type Envelopes, newVersion } from './envelope.ts';
import type { RedisAccess } from './redis-access.ts';
import type { RedisCommands } from './redis-commands.ts';
import { LEASE_KEY, RELEASE, RENEW, STORE } from './scripts.ts';
import type { TagIndexes } from './tag-indexes.ts';

export interface RedisLeasesOptions {
  access: RedisAccess;
  commands: RedisCommands;
  envelopes: Envelopes;
  index: TagIndexes;
  feed: ChangeFeed;
  prefix: string;
  leaseMs: number;
}

/** For so long a tag's index remembers a key that is being loaded. */
const LONGEST_LOAD_MS = 3_600_000;

/** The right to load a key: a token that stands at the key itself until anything else is done to it. */
export class RedisLeases {
  readonly #options: RedisLeasesOptions;

  constructor(options: RedisLeasesOptions) {
    this.#options = options;
  }

  async lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    const { access, commands, feed, leaseMs } = this.#options;
    if (!access.available) return { state: 'unavailable' };
    const token = newVersion();
    // Before the load, so that a deleteByTag that runs during it finds the key.
    const index = await this.#options.index.noted(key, tags, Math.max(leaseMs, LONGEST_LOAD_MS));
    if (index === undefined) return { state: 'unavailable' };
    feed.own?.add(key, token);
    // A client may be told to give numbers as text.
    const answer = Number(await commands.run(LEASE_KEY, index.keys, ...index.args, seen ?? '', token, leaseMs));
    if (answer === 1) return { state: 'granted', token };
    if (answer < 0) return { state: 'held', leftMs: -answer };
    return { state: answer === 2 ? 'changed' : 'unavailable' };
  }

  async renew(key: string, token: string): Promise<void> {
    const { access, commands, feed, prefix, leaseMs } = this.#options;
    if (!access.available) return;
    feed.own?.add(key, token);
    await commands.run(RENEW, [prefix + key], token, leaseMs);
  }

  async release(key: string, token: string): Promise<void> {
    const { access, commands, feed, prefix } = this.#options;
    if (!access.available) return;
    feed.own?.remove(key);
    await commands.run(RELEASE, [prefix + key], token);
  }

  async store(key: string, token: string, entry: RemoteWrite): Promise<'stored' | 'lost' | 'unavailable'> {
    const { access, commands, envelopes, feed } = this.#options;
    if (!access.available) return 'unavailable';
    const version = newVersion();
    const written = envelopes.encode(version, entry);
    const bytes = written instanceof Promise ? await written : written;
    const index = await this.#options.index.noted(key, entry.tags, entry.keepMs);
    if (index === undefined) return 'unavailable';
    feed.own?.add(key, version);
    const answer = Number(await commands.run(STORE, index.keys, ...index.args, bytes, token));
    return answer === 1 ? 'stored' : answer === 0 ? 'lost' : 'unavailable';
  }
}
