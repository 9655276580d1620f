import type { Clock } from '../clock.ts';
import type { LeaseAnswer, RemoteEntry, RemoteListener, RemoteTier, RemoteWrite } from '../remote-tier.ts';
import { digits, Envelopes, isValue, newVersion } from './envelope.ts';
import type { Hearing } from './invalidation-link.ts';
import { Invalidations } from './invalidations.ts';
import { KeyTurns } from './key-turns.ts';
import { type MissedWrite, MissedWrites } from './missed-writes.ts';
import { type News, Publications } from './publications.ts';
import { RedisCircuit, RedisUnavailableError } from './redis-circuit.ts';
import type { Argument, RedisClient } from './redis-client.ts';
import { RedisCommands } from './redis-commands.ts';
import { checkRedisTierOptions, type RedisTierOptions } from './redis-tier-options.ts';
import { EXPIRE, LEASE_KEY, RELEASE, RENEW, SET, STORE } from './scripts.ts';
import { expiry, TagIndexes } from './tag-indexes.ts';
import { TickReads } from './tick-reads.ts';

export interface RedisTierStats {
  /** Whether Redis is asked at the moment. */
  available: boolean;
  /** Invalidations and writes that Redis has not taken, and that are made up for by deletion when it can be reached. */
  owed: number;
}

/** For so long a tag's index remembers a key that is being loaded. */
const LONGEST_LOAD_MS = 3_600_000;

/** The second tier on Redis: `new Cache({ remote: new RedisTier({ client }) })`. */
export class RedisTier implements RemoteTier {
  readonly leaseMs: number;
  readonly maxLagMs: number;
  /** Tells one cache of what others do; absent with `invalidation: 'none'`. */
  readonly subscribe: ((listener: RemoteListener) => () => void) | undefined = undefined;
  readonly #retryAfterMs: number;
  /** Absent with `invalidation: 'none'`. */
  readonly #publications: Publications | undefined = undefined;
  readonly #setsAreTold: boolean;
  #invalidations: Invalidations | undefined;
  readonly #client: RedisClient;
  readonly #prefix: string;
  readonly #scanCount: number;
  readonly #clock: Clock;
  readonly #circuit: RedisCircuit;
  readonly #commands: RedisCommands;
  readonly #reads: TickReads;
  readonly #envelopes: Envelopes;
  readonly #index: TagIndexes;
  readonly #missed: MissedWrites;
  /** On one server commands run in the order in which they are sent; on a cluster a value and its tags' indexes lie on different nodes. */
  readonly #turns = new KeyTurns();
  #wasReady = false;
  #closed = false;

  constructor(options: RedisTierOptions) {
    const settings = checkRedisTierOptions(options);
    const { client, prefix, invalidation, scanCount, clock } = settings;
    this.#client = client;
    this.#prefix = prefix;
    const tagPrefix = `tag|${prefix}`;
    this.#setsAreTold = invalidation === 'pubsub';
    if (invalidation !== 'none') {
      this.#publications = new Publications((client.options?.keyPrefix ?? '') + prefix);
      this.subscribe = (listener) => this.#subscribe(invalidation, listener);
    }
    this.maxLagMs = settings.maxLagMs;
    this.leaseMs = settings.leaseMs;
    this.#scanCount = scanCount;
    this.#clock = clock;
    this.#missed = new MissedWrites();
    this.#retryAfterMs = settings.retryAfterMs;
    const circuit = { commandTimeoutMs: settings.commandTimeoutMs, retryAfterMs: settings.retryAfterMs, clock };
    this.#circuit = new RedisCircuit({ ...circuit, recover: () => this.#recover() });
    this.#commands = new RedisCommands({
      client,
      circuit: this.#circuit,
      prefix,
      tagPrefix,
      scanCount,
    });
    this.#reads = new TickReads(this.#commands);
    this.#envelopes = new Envelopes(settings);
    this.#index = new TagIndexes({ commands: this.#commands, clock, prefix, tagPrefix });
  }

  get(key: string): Promise<RemoteEntry | undefined> {
    if (!this.#available()) return Promise.resolve(undefined);
    return this.#reads.get(this.#prefix + key).then((bytes) => {
      if (bytes === null || bytes === undefined) return undefined;
      this.#invalidations?.own.found(key);
      const entry = this.#envelopes.decode(bytes);
      // Most can be read at once: a promise less for each hit.
      return entry === undefined || entry instanceof Promise ? this.#checked(key, bytes, entry) : entry;
    });
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
    if (keys.length === 0 || !this.#available()) return [];
    const names = keys.map((key) => this.#prefix + key);
    // On a cluster the keys of one MGET would have to share a slot.
    const found = ((await (this.#commands.isCluster
      ? Promise.all(names.map((name) => this.#commands.callBuffer('GET', name)))
      : this.#commands.callBuffer('MGET', ...names))) ?? []) as unknown[];
    found.forEach((bytes, index) => {
      if (bytes !== null) this.#invalidations?.own.found(keys[index] as string);
    });
    return Promise.all(found.map((bytes) => this.#envelopes.decode(bytes)));
  }

  async lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    if (!this.#available()) return { state: 'unavailable' };
    const token = newVersion();
    // Before the load, so that a deleteByTag that runs during it finds the key.
    const index = await this.#index.noted(key, tags, Math.max(this.leaseMs, LONGEST_LOAD_MS));
    if (index === undefined) return { state: 'unavailable' };
    this.#invalidations?.own.add(key, token);
    const answer = await this.#commands.run(LEASE_KEY, index.keys, ...index.args, seen ?? '', token, this.leaseMs);
    if (answer === 1) return { state: 'granted', token };
    if (typeof answer === 'number' && answer < 0) return { state: 'held', leftMs: -answer };
    return { state: answer === 2 ? 'changed' : 'unavailable' };
  }

  async renew(key: string, token: string): Promise<void> {
    if (!this.#available()) return;
    this.#invalidations?.own.add(key, token);
    await this.#commands.run(RENEW, [this.#prefix + key], token, this.leaseMs);
  }

  async release(key: string, token: string): Promise<void> {
    if (!this.#available()) return;
    this.#invalidations?.own.remove(key);
    await this.#commands.run(RELEASE, [this.#prefix + key], token);
  }

  async store(key: string, token: string, entry: RemoteWrite): Promise<'stored' | 'lost' | 'unavailable'> {
    if (!this.#available()) return 'unavailable';
    const version = newVersion();
    const written = this.#envelopes.encode(version, entry);
    const bytes = written instanceof Promise ? await written : written;
    const index = await this.#index.noted(key, entry.tags, entry.keepMs);
    if (index === undefined) return 'unavailable';
    this.#invalidations?.own.add(key, version);
    const answer = await this.#commands.run(STORE, index.keys, ...index.args, bytes, token);
    return answer === 1 ? 'stored' : answer === 0 ? 'lost' : 'unavailable';
  }

  set(key: string, entry: RemoteWrite): Promise<void> {
    const missed: MissedWrite[] = [{ kind: 'key', name: key }];
    const version = newVersion();
    const written = this.#envelopes.encode(version, entry);
    const write = (set: (bytes: Argument) => Promise<unknown>) => async () => {
      const bytes = written instanceof Promise ? await written : written;
      await this.#write(missed, () => this.#setAndTell(key, version, () => set(bytes)), undefined);
    };
    // What takes more than one turn must not be overtaken by what is called next.
    const { keys, args } = this.#index.argumentsOf(key, entry.tags, entry.keepMs);
    if (this.#commands.isCluster && entry.tags.length > 0) {
      return this.#turns.during(
        [key],
        write((bytes) => this.#setAcross(key, entry, bytes)),
      );
    }
    const px = expiry(entry.keepMs);
    const set = (bytes: Argument) =>
      entry.tags.length > 0
        ? this.#commands.runInOrder(SET, keys, ...args, bytes)
        : this.#commands.call('SET', this.#prefix + key, bytes, ...(px === undefined ? [] : ['PX', px]));
    return written instanceof Promise ? this.#turns.during([key], write(set)) : this.#turns.after([key], write(set));
  }

  async #setAndTell(key: string, version: string, set: () => Promise<unknown>): Promise<void> {
    this.#invalidations?.own.add(key, version);
    await set();
    if (this.#invalidations?.byMessagesOnly ?? this.#setsAreTold) await this.#publish({ keys: [key] });
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
    const now = digits(this.#wallNow());
    const expireAll = () =>
      Promise.all(
        keys.map((key) => {
          this.#invalidations?.own.add(key, version);
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

  /** Sends nothing any more, and closes the connections that were made to hear of changes. The client is left as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#circuit.stop();
    this.#invalidations?.close();
  }

  #subscribe(wanted: Hearing, listener: RemoteListener): () => void {
    const invalidations = new Invalidations({
      client: this.#client,
      wanted,
      prefix: this.#prefix,
      maxLagMs: this.maxLagMs,
      retryAfterMs: this.#retryAfterMs,
      clock: this.#clock,
      listener,
      publications: this.#publications as Publications,
      versionOf: (key) => this.#versionOf(key),
    });
    this.#invalidations = invalidations;
    return () => invalidations.close();
  }

  /** How it stands with Redis. */
  stats(): RedisTierStats {
    return { available: this.#available(), owed: this.#missed.size };
  }

  async #versionOf(key: string): Promise<string> {
    if (!this.#available()) throw new RedisUnavailableError('@x/cache: Redis is not connected');
    return String((await this.#commands.call('GETRANGE', this.#prefix + key, 0, 19)) ?? '').slice(4);
  }

  #wallNow(): number {
    return this.#clock.wallNow?.() ?? Date.now();
  }

  #available(): boolean {
    if (this.#missed.size > 0) this.#circuit.trip();
    return !this.#closed && this.#circuit.closed && this.#connected();
  }

  #connected(): boolean {
    const { status } = this.#client;
    if (status === 'ready') this.#wasReady = true;
    // A client that has lost its connection would keep commands for later; one that makes its first may.
    return status === 'ready' || status === 'wait' || (!this.#wasReady && status.startsWith('connect'));
  }

  /** A write that must not be forgotten: what Redis may not have heard of is deleted there before it is read again. */
  async #write<T>(missed: readonly MissedWrite[], run: () => Promise<T>, otherwise: T): Promise<T> {
    if (this.#closed) return otherwise;
    let written = false;
    try {
      if (!this.#available()) return otherwise;
      const answer = await run();
      written = true;
      return answer;
    } finally {
      if (!written) {
        for (const write of missed) this.#missed.add(write);
        this.#circuit.trip();
      }
    }
  }

  /** A write that takes something away: others hear of it by a message too, since the server tells nothing of a key that it does not have. */
  #invalidate<T>(missed: readonly MissedWrite[], news: News, run: () => Promise<T>, otherwise: T): Promise<T> {
    const told = async () => {
      const answer = await run();
      await this.#publish(news);
      return answer;
    };
    return this.#write(missed, told, otherwise);
  }

  async #publish(news: News): Promise<void> {
    const publications = this.#publications;
    if (publications === undefined) return;
    const messages = publications.messages(news, this.#scanCount);
    await Promise.all(
      messages.map((message) => this.#commands.publish(publications.channel, message, publications.forgive)),
    );
  }

  async #recover(): Promise<void> {
    if (!this.#connected()) throw new RedisUnavailableError('@x/cache: Redis is not connected');
    await this.#commands.call('PING');
    await this.#missed.replay(async ({ kind, name }) => {
      if (kind === 'key') {
        await this.#commands.unlink([this.#prefix + name]);
        await this.#publish({ keys: [name] });
      } else if (kind === 'tag') {
        await this.#commands.unlinkTagged(name);
        await this.#publish({ tags: [name] });
      } else {
        await this.#commands.unlinkMatching(name);
        await this.#publish({ pattern: name });
      }
    });
  }

  /** On a cluster a value follows when all its tags have been noted: it can never be found without them. */
  async #setAcross(key: string, entry: RemoteWrite, bytes: Argument): Promise<void> {
    const index = await this.#index.noted(key, entry.tags, entry.keepMs);
    if (index === undefined) await this.#commands.unlink([this.#prefix + key]);
    else await this.#commands.runInOrder(SET, index.keys, ...index.args, bytes);
  }
}
