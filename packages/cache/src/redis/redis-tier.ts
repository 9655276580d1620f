import { type Clock, systemClock } from '../clock.ts';
import { KeyPattern } from '../glob.ts';
import { count, positiveDuration } from '../option-checks.ts';
import type { LeaseAnswer, RemoteEntry, RemoteTier, RemoteWrite } from '../remote-tier.ts';
import { decode, digits, encode, isValue, newVersion } from './envelope.ts';
import { type MissedWrite, MissedWrites } from './missed-writes.ts';
import { RedisCircuit, RedisUnavailableError } from './redis-circuit.ts';
import type { RedisClient, RedisNode } from './redis-client.ts';
import { EXPIRE, LEASE_KEY, RELEASE, RENEW, type Script, STORE, TAG } from './scripts.ts';

export interface RedisTierOptions {
  /** A `Redis` or `Cluster` of ioredis 5 or 6. It stays its owner's: it is neither configured, listened to, nor closed here. */
  client: RedisClient;
  /** Stands before every key. Default `'cache:'`. Caches that share a Redis and a prefix share their entries. */
  prefix?: string | undefined;
  /** A command that takes longer has failed. Milliseconds, default 500. */
  commandTimeoutMs?: number | undefined;
  /** After a failure Redis is left alone for so long, then probed in the background. Milliseconds, default 1,000. */
  retryAfterMs?: number | undefined;
  /** How long a load may hold a key without giving a sign of life (it gives one every third of it): what a process that died while loading may cost the others. Milliseconds, default 5,000. */
  leaseMs?: number | undefined;
  /** Keys that one SCAN looks at, and that one UNLINK takes. Default 500. */
  scanCount?: number | undefined;
  /** Default: the process's own. */
  clock?: Clock | undefined;
}

/** For so long a tag's index remembers a key that is being loaded. */
const LONGEST_LOAD_MS = 3_600_000;
/** Clocks of processes may differ by so much. */
const CLOCK_SLACK_MS = 60_000;
const LONGEST_PX = 100 * 365 * 86_400_000;

/** The second tier on Redis: `new Cache({ remote: new RedisTier({ client }) })`. */
export class RedisTier implements RemoteTier {
  readonly leaseMs: number;
  readonly #client: RedisClient;
  readonly #prefix: string;
  readonly #tagPrefix: string;
  readonly #scanCount: number;
  readonly #clock: Clock;
  readonly #circuit: RedisCircuit;
  readonly #missed: MissedWrites;
  #wasReady = false;
  #closed = false;

  constructor(options: RedisTierOptions) {
    if (typeof options?.client?.call !== 'function') {
      throw new TypeError('@x/cache: client must be a Redis or Cluster of ioredis');
    }
    this.#client = options.client;
    this.#prefix = options.prefix ?? 'cache:';
    this.#tagPrefix = `tag|${this.#prefix}`;
    if (typeof this.#prefix !== 'string' || this.#prefix === '' || this.#prefix.startsWith('tag|')) {
      throw new TypeError(
        `@x/cache: prefix must be a string that is not empty and does not begin with 'tag|', got ${JSON.stringify(this.#prefix)}`,
      );
    }
    this.leaseMs = positiveDuration('leaseMs', options.leaseMs ?? 5_000);
    this.#scanCount = count('scanCount', options.scanCount ?? 500);
    this.#clock = options.clock ?? systemClock;
    this.#missed = new MissedWrites();
    this.#circuit = new RedisCircuit({
      commandTimeoutMs: positiveDuration('commandTimeoutMs', options.commandTimeoutMs ?? 500),
      retryAfterMs: positiveDuration('retryAfterMs', options.retryAfterMs ?? 1_000),
      clock: this.#clock,
      recover: () => this.#recover(),
    });
  }

  async get(key: string): Promise<RemoteEntry | undefined> {
    if (!this.#available()) return undefined;
    const text = await this.#call('GET', this.#prefix + key);
    const entry = decode(text);
    // A value of our format that cannot be read would stand in the way of every load until it expires.
    if (entry === undefined && isValue(text)) await this.#call('UNLINK', this.#prefix + key);
    return entry;
  }

  async getMany(keys: readonly string[]): Promise<(RemoteEntry | undefined)[]> {
    if (!this.#available()) return [];
    const names = keys.map((key) => this.#prefix + key);
    // On a cluster the keys of one MGET would have to share a slot.
    const texts = await (this.#client.nodes === undefined
      ? this.#call('MGET', ...names)
      : Promise.all(names.map((name) => this.#call('GET', name))));
    return ((texts ?? []) as unknown[]).map(decode);
  }

  async lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    if (!this.#available()) return { state: 'unavailable' };
    const token = newVersion();
    // Before the load, so that a deleteByTag that runs during it finds the key.
    await this.#index(key, tags, Math.max(this.leaseMs, LONGEST_LOAD_MS));
    const answer = await this.#run(LEASE_KEY, this.#prefix + key, seen ?? '', token, this.leaseMs);
    if (answer === 1) return { state: 'granted', token };
    return { state: answer === 0 ? 'held' : answer === 2 ? 'changed' : 'unavailable' };
  }

  async renew(key: string, token: string): Promise<void> {
    if (this.#available()) await this.#run(RENEW, this.#prefix + key, token, this.leaseMs);
  }

  async release(key: string, token: string): Promise<void> {
    if (this.#available()) await this.#run(RELEASE, this.#prefix + key, token);
  }

  async store(key: string, token: string, entry: RemoteWrite): Promise<'stored' | 'lost' | 'unavailable'> {
    if (!this.#available()) return 'unavailable';
    await this.#index(key, entry.tags, entry.keepMs);
    const text = encode(newVersion(), entry);
    const answer = await this.#run(STORE, this.#prefix + key, token, text, expiry(entry.keepMs) ?? 0);
    return answer === 1 ? 'stored' : answer === 0 ? 'lost' : 'unavailable';
  }

  set(key: string, entry: RemoteWrite): Promise<void> {
    const px = expiry(entry.keepMs);
    const text = encode(newVersion(), entry);
    return this.#write(
      [{ kind: 'key', name: key }],
      async () => {
        await this.#index(key, entry.tags, entry.keepMs);
        await this.#call('SET', this.#prefix + key, text, ...(px === undefined ? [] : ['PX', px]));
      },
      undefined,
    );
  }

  delete(keys: readonly string[]): Promise<number> {
    return this.#write(
      keys.map((name) => ({ kind: 'key', name })),
      () => this.#unlink(keys.map((key) => this.#prefix + key)),
      0,
    );
  }

  async expire(keys: readonly string[]): Promise<void> {
    const version = newVersion();
    const now = digits(this.#wallNow());
    await this.#write(
      keys.map((name) => ({ kind: 'key', name })),
      () => Promise.all(keys.map((key) => this.#run(EXPIRE, this.#prefix + key, version, now))),
      [],
    );
  }

  async deleteByTag(tags: readonly string[]): Promise<void> {
    await this.#write(
      tags.map((name) => ({ kind: 'tag', name })),
      () => Promise.all(tags.map((tag) => this.#unlinkTagged(tag))),
      [],
    );
  }

  deleteByPattern(pattern: string): Promise<number> {
    return this.#write([{ kind: 'pattern', name: pattern }], () => this.#unlinkMatching(pattern), 0);
  }

  async clear(): Promise<void> {
    await this.deleteByPattern('*');
  }

  /** Sends nothing any more. The client is left as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#circuit.stop();
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

  #call(command: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#circuit.guard(() => this.#client.call(command, ...args));
  }

  #run(script: Script, key: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#circuit.guard(() => script.run(this.#client, key, ...args));
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

  async #recover(): Promise<void> {
    if (!this.#connected()) throw new RedisUnavailableError('@x/cache: Redis is not connected');
    await this.#call('PING');
    await this.#missed.replay(({ kind, name }) => {
      if (kind === 'key') return this.#unlink([this.#prefix + name]);
      return kind === 'tag' ? this.#unlinkTagged(name) : this.#unlinkMatching(name);
    });
  }

  /** Notes under each tag that the key has it. */
  async #index(key: string, tags: readonly string[], keepMs: number): Promise<void> {
    if (tags.length === 0) return;
    const now = this.#wallNow();
    const until = keepMs === Number.POSITIVE_INFINITY ? '+inf' : Math.ceil(now + keepMs);
    await Promise.all(
      tags.map((tag) => this.#run(TAG, this.#tagPrefix + tag, key, until, now - CLOCK_SLACK_MS, expiry(keepMs) ?? 0)),
    );
  }

  /** The tag's index stays: a key in it that has lost the tag is deleted for nothing, one left out would be missed. */
  async #unlinkTagged(tag: string): Promise<void> {
    const keys = ((await this.#call('ZRANGE', this.#tagPrefix + tag, 0, -1)) ?? []) as string[];
    await this.#unlink(keys.map((key) => this.#prefix + key));
  }

  async #unlinkMatching(pattern: string): Promise<number> {
    const keyPrefix = this.#client.options?.keyPrefix ?? '';
    const match = new KeyPattern(pattern).toRedis(keyPrefix + this.#prefix);
    const nodes: readonly RedisNode[] = this.#client.nodes?.('master') ?? [this.#client];
    let deleted = 0;
    for (const node of nodes) {
      let cursor = '0';
      do {
        const page = await this.#circuit.guard(() =>
          node.call('SCAN', cursor, 'MATCH', match, 'COUNT', this.#scanCount),
        );
        const [next, keys] = page as [string, string[]];
        // SCAN speaks of names as they are stored, every other command of names before keyPrefix.
        deleted += await this.#unlink(keys.map((key) => key.slice(keyPrefix.length)));
        cursor = next;
      } while (cursor !== '0');
    }
    return deleted;
  }

  async #unlink(names: readonly string[]): Promise<number> {
    const together = this.#client.nodes === undefined ? this.#scanCount : 1;
    let deleted = 0;
    for (let from = 0; from < names.length; from += this.#scanCount) {
      const part = names.slice(from, from + this.#scanCount);
      const commands: Promise<unknown>[] = [];
      for (let at = 0; at < part.length; at += together) {
        commands.push(this.#call('UNLINK', ...part.slice(at, at + together)));
      }
      for (const answer of await Promise.all(commands)) deleted += Number(answer);
    }
    return deleted;
  }
}

/** What PX takes; undefined for ever. */
function expiry(ms: number): number | undefined {
  return ms === Number.POSITIVE_INFINITY ? undefined : Math.min(Math.max(1, Math.ceil(ms)), LONGEST_PX);
}
