import type { RemoteWrite } from '../remote-tier.ts';
import type { ChangeFeed } from './change-feed.ts';
import { type Envelopes, newVersion } from './envelope.ts';
import type { KeyTurns } from './key-turns.ts';
import type { RedisAccess } from './redis-access.ts';
import type { Argument } from './redis-client.ts';
import type { RedisCommands } from './redis-commands.ts';
import { SET_UNTIL, TIME } from './scripts.ts';
import type { TagIndexes } from './tag-indexes.ts';

export interface RedisSetsOptions {
  access: RedisAccess;
  commands: RedisCommands;
  envelopes: Envelopes;
  index: TagIndexes;
  feed: ChangeFeed;
  turns: KeyTurns;
  prefix: string;
  commandTimeoutMs: number;
}

/**
 * Writes values whatever stands there, in time or not at all. A command that was given up may still lie in a socket, or be sent again by
 * the client when it has reconnected, and reach Redis after what others did to the key since. So the server is asked for its time first,
 * and writes the value until `commandTimeoutMs` later by its own clock: when nobody waits for the answer any more, it is refused. It
 * then deletes the key, as its caller wanted what stood there gone; a deletion that comes late costs a load, and is never wrong.
 */
export class RedisSets {
  readonly #options: RedisSetsOptions;
  /** The question for the time that is under way. */
  #asked: Promise<unknown> | undefined;

  constructor(options: RedisSetsOptions) {
    this.#options = options;
  }

  set(key: string, entry: RemoteWrite): Promise<void> {
    const { access, envelopes, turns } = this.#options;
    const version = newVersion();
    const written = envelopes.encode(version, entry);
    return turns.during([key], async () => {
      const bytes = written instanceof Promise ? await written : written;
      const write = () => this.#write(key, version, entry, bytes);
      await access.write([{ kind: 'key', name: key }], write, undefined);
    });
  }

  async #write(key: string, version: string, entry: RemoteWrite, bytes: Argument): Promise<void> {
    const { commands, feed, prefix, commandTimeoutMs } = this.#options;
    const name = prefix + key;
    // What is told from now on is settled when this has been written.
    feed.own?.add(key, version);
    const [now, index] = await Promise.all([
      this.#serverTime(name),
      this.#options.index.noted(key, entry.tags, entry.keepMs),
    ]);
    let stored = 0;
    if (index === undefined) await commands.unlink([name]);
    else {
      // Once more: signs of life may have come meanwhile, at which own writes are forgotten.
      feed.own?.add(key, version);
      const until = Number(now) + commandTimeoutMs;
      stored = Number(await commands.run(SET_UNTIL, index.keys, ...index.args, bytes, until));
    }
    if (stored !== 1) feed.forget([key]);
    // Where nothing stood, the server tells nothing of a deletion.
    if (stored !== 1 || feed.byMessagesOnly) await feed.publish({ keys: [key] });
  }

  /** In ms. Sets that are called while it is asked for share the answer: an earlier time only makes them more careful. */
  #serverTime(name: string): Promise<unknown> {
    const { commands } = this.#options;
    const ask = () => commands.run(TIME, [name]);
    // Each node of a cluster has a clock of its own.
    if (commands.isCluster) return ask();
    this.#asked ??= ask().finally(() => {
      this.#asked = undefined;
    });
    return this.#asked;
  }
}
