import type { Clock } from '../clock.ts';
import type { LeaseAnswer, RemoteEntry, RemoteListener, RemoteTier, RemoteWrite } from '../remote-tier.ts';
import { ChangeFeed } from './change-feed.ts';
import { digits, Envelopes, isValue, newVersion } from './envelope.ts';
import { KeyTurns } from './key-turns.ts';
import type { MissedWrite } from './missed-writes.ts';
import type { News } from './publications.ts';
import { RedisAccess } from './redis-access.ts';
import { RedisUnavailableError } from './redis-circuit.ts';
import { RedisCommands } from './redis-commands.ts';
import { RedisLeases } from './redis-leases.ts';
import { RedisSets } from './redis-sets.ts';
import { checkRedisTierOptions, type RedisTierOptions } from './redis-tier-options.ts';
import { EXPIRE } from './scripts.ts';
import { TagIndexes } from './tag-indexes.ts';
import { TickReads } from './tick-reads.ts';

export interface RedisTierStats {
  /** Whether Redis is asked at the moment. */
  available: boolean;
  /** Invalidations and writes that Redis has not taken, and that are made up for by deletion when it can be reached. */
  owed: number;
}

/** The second tier on Redis: `new Cache({ remote: new RedisTier({ client }) })`. */
export class RedisTier implements RemoteTier {
  readonly leaseMs: number;
  readonly maxLagMs: number;
  /** Tells one cache of what others do; absent with `invalidation: 'none'`. */
  readonly subscribe: ((listener: RemoteListener) => () => void) | undefined;
  readonly #prefix: string;
  readonly #scanCount: number;
  readonly #clock: Clock;
  readonly #access: RedisAccess;
  readonly #commands: RedisCommands;
  readonly #reads: TickReads;
  readonly #envelopes: Envelopes;
  readonly #feed: ChangeFeed;
  readonly #leases: RedisLeases;
  readonly #sets: RedisSets;
  /** Commands run in the order in which they are sent; a set takes more than one. */
  readonly #turns = new KeyTurns();

  constructor(options: RedisTierOptions) {
    const settings = checkRedisTierOptions(options);
    const { client, prefix, maxLagMs, leaseMs, scanCount, commandTimeoutMs, clock } = settings;
    const tagPrefix = `tag|${prefix}`;
    this.maxLagMs = maxLagMs;
    this.leaseMs = leaseMs;
    this.#prefix = prefix;
    this.#scanCount = scanCount;
    this.#clock = clock;
    const access = new RedisAccess({
      ...settings,
      ping: () => this.#commands.call('PING'),
      makeUp: (missed) => this.#makeUp(missed),
    });
    const commands = new RedisCommands({ client, circuit: access.circuit, prefix, tagPrefix, scanCount });
    const feed = new ChangeFeed({
      ...settings,
      commands,
      mostKeys: scanCount,
      versionOf: (key) => this.#versionOf(key),
    });
    const envelopes = new Envelopes(settings);
    const index = new TagIndexes({
      commands,
      prefix,
      tagPrefix,
      onFirstUse: () => void feed.tellOfEviction(),
    });
    this.subscribe = feed.subscribe;
    this.#access = access;
    this.#commands = commands;
    this.#reads = new TickReads(commands);
    this.#envelopes = envelopes;
    this.#feed = feed;
    this.#leases = new RedisLeases({ access, commands, envelopes, index, feed, prefix, leaseMs });
    this.#sets = new RedisSets({
      access,
      commands,
      envelopes,
      index,
      feed,
      turns: this.#turns,
      prefix,
      commandTimeoutMs,
    });
  }

  get(key: string): Promise<RemoteEntry | undefined> {
    const write = this.#turns.underWay(key);
    return write === undefined ? this.#get(key) : Promise.allSettled([write]).then(() => this.#get(key));
  }

  #get(key: string): Promise<RemoteEntry | undefined> {
    if (!this.#access.available) return Promise.resolve(undefined);
    return this.#reads.get(this.#prefix + key, (bytes) => this.#read(key, bytes));
  }

  #read(key: string, bytes: unknown): RemoteEntry | undefined | Promise<RemoteEntry | undefined> {
    if (bytes === null || bytes === undefined) return undefined;
    this.#feed.own?.found(key);
    const entry = this.#envelopes.decode(bytes);
    // Most can be read at once: a promise less for each hit.
    return entry === undefined || entry instanceof Promise ? this.#checked(key, bytes, entry) : entry;
  }

  /** A value of our format that cannot be read would stand in the way of every load until it expires. */
  async #checked(
    key: string,
    bytes: unknown,
    decoded: undefined | Promise<RemoteEntry | undefined>,
  ): Promise<RemoteEntry | undefined> {
    const entry = await decoded;
    if (entry === undefined && isValue(bytes)) await this.#commands.call('UNLINK', this.#prefix + key);
    return entry;
  }

  async getMany(keys: readonly string[]): Promise<(RemoteEntry | undefined)[]> {
    const writes = keys.flatMap((key) => this.#turns.underWay(key) ?? []);
    if (writes.length > 0) await Promise.allSettled(writes);
    if (keys.length === 0 || !this.#access.available) return [];
    const found = await this.#readAll(keys.map((key) => this.#prefix + key));
    found.forEach((bytes, index) => {
      if (bytes !== null) this.#feed.own?.found(keys[index] as string);
    });
    return Promise.all(found.map((bytes) => this.#envelopes.decode(bytes)));
  }

  /** The bytes; null or undefined for what is not there. On a cluster the keys of one MGET would have to share a slot. */
  async #readAll(names: readonly string[]): Promise<unknown[]> {
    if (this.#commands.isCluster) return Promise.all(names.map((name) => this.#commands.callBuffer('GET', name)));
    const parts: Promise<unknown>[] = [];
    for (let from = 0; from < names.length; from += this.#scanCount) {
      parts.push(this.#commands.callBuffer('MGET', ...names.slice(from, from + this.#scanCount)));
    }
    return ((await Promise.all(parts)) as unknown[][]).flat();
  }

  lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    return this.#leases.lease(key, seen, tags);
  }

  renew(key: string, token: string): Promise<void> {
    return this.#leases.renew(key, token);
  }

  release(key: string, token: string): Promise<void> {
    return this.#leases.release(key, token);
  }

  store(key: string, token: string, entry: RemoteWrite): Promise<'stored' | 'lost' | 'unavailable'> {
    return this.#leases.store(key, token, entry);
  }

  set(key: string, entry: RemoteWrite): Promise<void> {
    return this.#sets.set(key, entry);
  }

  delete(keys: readonly string[]): Promise<number> {
    const missed = keys.map((name): MissedWrite => ({ kind: 'key', name }));
    const names = keys.map((key) => this.#prefix + key);
    const unlink = () => this.#invalidate(missed, { keys }, () => this.#commands.unlink(names), 0);
    // Too many for one turn on a cluster: what is set later must come later.
    const several = this.#commands.isCluster && keys.length > this.#scanCount;
    return several ? this.#turns.during(keys, unlink) : this.#turns.after(keys, unlink);
  }

  async expire(keys: readonly string[]): Promise<void> {
    const missed = keys.map((name): MissedWrite => ({ kind: 'key', name }));
    const version = newVersion();
    const now = digits(this.#clock.wallNow?.() ?? Date.now());
    const expireAll = () =>
      Promise.all(
        keys.map((key) => {
          this.#feed.own?.add(key, version);
          return this.#commands.runInOrder(EXPIRE, [this.#prefix + key], version, now);
        }),
      );
    await this.#turns.after(keys, () => this.#invalidate(missed, { keys }, expireAll, []));
  }

  async deleteByTag(tags: readonly string[]): Promise<void> {
    const missed = tags.map((name): MissedWrite => ({ kind: 'tag', name }));
    const unlinkAll = () => Promise.all(tags.map((tag) => this.#commands.unlinkTagged(tag)));
    await this.#turns.afterAll(() => this.#invalidate(missed, { tags }, unlinkAll, []));
  }

  deleteByPattern(pattern: string): Promise<number> {
    const missed: MissedWrite[] = [{ kind: 'pattern', name: pattern }];
    return this.#turns.afterAll(() =>
      this.#invalidate(missed, { pattern }, () => this.#commands.unlinkMatching(pattern), 0),
    );
  }

  async clear(): Promise<void> {
    await this.deleteByPattern('*');
  }

  /** Ends the writes under way, sends nothing any more, and closes the connections that were made to hear of changes. The client is left as it is. */
  async close(): Promise<void> {
    await this.#turns.afterAll(async () => {});
    this.#access.close();
    this.#feed.close();
  }

  /** How it stands with Redis. */
  stats(): RedisTierStats {
    return { available: this.#access.available, owed: this.#access.owed };
  }

  /** A write that takes something away: others hear of it by a message too, since the server tells nothing of a key that it does not have. */
  #invalidate<T>(missed: readonly MissedWrite[], news: News, run: () => Promise<T>, otherwise: T): Promise<T> {
    const told = async () => {
      const answer = await run();
      await this.#feed.publish(news);
      return answer;
    };
    return this.#access.write(missed, told, otherwise);
  }

  async #makeUp({ kind, name }: MissedWrite): Promise<void> {
    if (kind === 'key') {
      await this.#commands.unlink([this.#prefix + name]);
      this.#feed.forget([name]);
      await this.#feed.publish({ keys: [name] });
    } else if (kind === 'tag') {
      await this.#commands.unlinkTagged(name);
      await this.#feed.publish({ tags: [name] });
    } else {
      await this.#commands.unlinkMatching(name);
      await this.#feed.publish({ pattern: name });
    }
  }

  /** What stands at a key when this process has written what it is writing there. */
  async #versionOf(key: string): Promise<string> {
    await Promise.allSettled([this.#turns.underWay(key)]);
    if (!this.#access.available) throw new RedisUnavailableError('@x/cache: Redis is not connected');
    return String((await this.#commands.call('GETRANGE', this.#prefix + key, 0, 19)) ?? '').slice(4);
  }
}
