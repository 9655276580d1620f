import type { RemoteWrite } from '../remote-tier.ts';
import type { ChangeFeed } from './change-feed.ts';
import { type Envelopes, newVersion } from './envelope.ts';
import type { KeyTurns } from './key-turns.ts';
import type { RedisAccess } from './redis-access.ts';
import type { Argument } from './redis-client.ts';
import type { RedisCommands } from './redis-commands.ts';
import { SET } from './scripts.ts';
import { expiry, type TagIndexes } from './tag-indexes.ts';

export interface RedisSetsOptions {
  access: RedisAccess;
  commands: RedisCommands;
  envelopes: Envelopes;
  index: TagIndexes;
  feed: ChangeFeed;
  turns: KeyTurns;
  prefix: string;
}

/** Writes values whatever stands there, in the order of the calls. */
export class RedisSets {
  readonly #options: RedisSetsOptions;

  constructor(options: RedisSetsOptions) {
    this.#options = options;
  }

  set(key: string, entry: RemoteWrite): Promise<void> {
    const { access, commands, envelopes, index, turns, prefix } = this.#options;
    const version = newVersion();
    const written = envelopes.encode(version, entry);
    const write = (set: (bytes: Argument) => Promise<unknown>) => async () => {
      const bytes = written instanceof Promise ? await written : written;
      await access.write(
        [{ kind: 'key', name: key }],
        () => this.#setAndTell(key, version, () => set(bytes)),
        undefined,
      );
    };
    // What takes more than one turn must not be overtaken by what is called next.
    const { keys, args } = index.argumentsOf(key, entry.tags, entry.keepMs);
    if (commands.isCluster && entry.tags.length > 0) {
      return turns.during(
        [key],
        write((bytes) => this.#setAcross(key, entry, bytes)),
      );
    }
    const px = expiry(entry.keepMs);
    const set = (bytes: Argument) =>
      entry.tags.length > 0
        ? commands.runInOrder(SET, keys, ...args, bytes)
        : commands.call('SET', prefix + key, bytes, ...(px === undefined ? [] : ['PX', px]));
    return written instanceof Promise ? turns.during([key], write(set)) : turns.after([key], write(set));
  }

  async #setAndTell(key: string, version: string, set: () => Promise<unknown>): Promise<void> {
    const { feed } = this.#options;
    feed.own?.add(key, version);
    await set();
    if (feed.byMessagesOnly) await feed.publish({ keys: [key] });
  }

  /** On a cluster a value follows when all its tags have been noted: it can never be found without them. */
  async #setAcross(key: string, entry: RemoteWrite, bytes: Argument): Promise<void> {
    const { commands, prefix } = this.#options;
    const index = await this.#options.index.noted(key, entry.tags, entry.keepMs);
    if (index === undefined) await commands.unlink([prefix + key]);
    else await commands.runInOrder(SET, index.keys, ...index.args, bytes);
  }
}
