import type { Clock } from '../clock.ts';
import type { RemoteListener } from '../remote-tier.ts';
import { Invalidations } from './invalidations.ts';
import type { OwnWrites } from './own-writes.ts';
import { type News, Publications } from './publications.ts';
import type { RedisClient } from './redis-client.ts';
import type { RedisCommands } from './redis-commands.ts';
import { evictionPolicyOf } from './server-eviction.ts';

export interface ChangeFeedOptions {
  client: RedisClient;
  invalidation: 'tracking' | 'pubsub' | 'none';
  commands: RedisCommands;
  prefix: string;
  maxLagMs: number;
  retryAfterMs: number;
  /** Keys that one message names at most. */
  mostKeys: number;
  clock: Clock;
  /** The version that stands at a key; '' if none. */
  versionOf: (key: string) => Promise<string>;
}

/** What processes tell each other of what they do to keys, and hear of it. */
export class ChangeFeed {
  readonly #options: ChangeFeedOptions;
  /** Absent with `invalidation: 'none'`. */
  readonly #publications: Publications | undefined = undefined;
  #invalidations: Invalidations | undefined;

  constructor(options: ChangeFeedOptions) {
    this.#options = options;
    const { client, invalidation, prefix } = options;
    if (invalidation !== 'none') this.#publications = new Publications((client.options?.keyPrefix ?? '') + prefix);
  }

  /** What this process writes and need not be told of, while a cache listens. */
  get own(): OwnWrites | undefined {
    return this.#invalidations?.own;
  }

  /** Whether the server tells nothing of what is written. */
  get byMessagesOnly(): boolean {
    return this.#invalidations?.byMessagesOnly ?? this.#options.invalidation === 'pubsub';
  }

  /** Tells one cache of what others do; absent with `invalidation: 'none'`. */
  get subscribe(): ((listener: RemoteListener) => () => void) | undefined {
    const { invalidation, ...options } = this.#options;
    const publications = this.#publications;
    if (invalidation === 'none' || publications === undefined) return undefined;
    return (listener) => {
      const invalidations = new Invalidations({ ...options, wanted: invalidation, listener, publications });
      this.#invalidations = invalidations;
      return () => invalidations.close();
    };
  }

  /** Has this process's memory forget keys: Redis has not what was set here, so that it would not tell of what happens to them. */
  forget(keys: readonly string[]): void {
    this.#invalidations?.forget(keys);
  }

  /** Where the server evicts, it may give up the index of a tag and keep values that have it. */
  async tellOfEviction(): Promise<void> {
    if (this.#invalidations === undefined) return;
    const policy = await evictionPolicyOf(this.#options.client);
    if (policy === undefined) return;
    this.#invalidations.degraded(
      'evictable',
      new Error(`@x/cache: deleteByTag may miss values, since Redis may evict the index of a tag (${policy})`),
    );
  }

  async publish(news: News): Promise<void> {
    const publications = this.#publications;
    if (publications === undefined) return;
    const { commands, mostKeys } = this.#options;
    const messages = publications.messages(news, mostKeys);
    await Promise.all(messages.map((message) => commands.publish(publications.channel, message, publications.forgive)));
  }

  close(): void {
    this.#invalidations?.close();
  }
}
