import type { Clock } from '../clock.ts';
import type { RedisConnection } from './redis-client.ts';

/** How changes are heard of on a connection. */
export type Hearing = 'tracking' | 'pubsub';

export interface InvalidationLinkOptions {
  connect: () => RedisConnection;
  /** What to ask for first. */
  wanted: Hearing;
  /** Names of keys that begin so, as they are stored, are tracked. */
  keyPrefix: string;
  /** Where processes tell each other what they have invalidated. */
  channel: string;
  heartbeatMs: number;
  /** After a failure the next attempt is made so much later; the first one at once. */
  retryAfterMs: number;
  clock: Clock;
  onKeys: (names: readonly string[] | undefined) => void;
  onPublished: (text: string) => void;
  onUp: (hearing: Hearing) => void;
  onDown: (reason: unknown) => void;
  /** All that was said before `at` (of the clock) has been heard. */
  onCurrent: (at: number) => void;
  /** The server refuses: `'pubsub'` instead, or nothing. */
  onRefused: (instead: 'pubsub' | 'none', error: unknown) => void;
}

// ioredis knows what ‘subscribe’ and ‘ping’ do to a connection only by their names in lower case.
const TRACKED = '__redis__:invalidate';
/** A connection that is silent for so long is given up. */
const DEAD_AFTER_MS = 5_000;

/** Hears from one server what happens to keys, on a connection of its own; makes another one when it is lost. */
export class InvalidationLink {
  readonly #options: InvalidationLinkOptions;
  #connection: RedisConnection | undefined;
  #timer: unknown;
  #closed = false;
  #up = false;
  #failures = 0;
  /** For how many heartbeats a sign of life has been waited for. Time would not do: after a busy event loop the answer may be there, unread. */
  #unanswered = 0;
  #reason: unknown;

  constructor(options: InvalidationLinkOptions) {
    this.#options = options;
    void this.#attempt();
  }

  get up(): boolean {
    return this.#up;
  }

  close(): void {
    this.#closed = true;
    this.#up = false;
    this.#options.clock.clearTimeout(this.#timer);
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.disconnect();
  }

  async #attempt(): Promise<void> {
    const connection = this.#options.connect();
    this.#connection = connection;
    this.#reason = undefined;
    connection.on('error', (error) => {
      this.#reason ??= error;
    });
    connection.on('messageBuffer', (channel, message) => {
      if (this.#connection === connection) this.#hear(String(channel), message);
    });
    for (const event of ['close', 'end']) connection.on(event, () => this.#lose(connection, undefined));
    this.#later(DEAD_AFTER_MS, () => this.#lose(connection, new Error('@x/cache: no connection in time')));
    try {
      await connection.connect();
      // The owner's client keeps the process alive; what listens for it does not.
      connection.stream?.unref?.();
      const hearing = await this.#setUp(connection);
      if (this.#connection !== connection) return;
      if (hearing === undefined) return this.#deaf(connection);
      this.#up = true;
      this.#failures = 0;
      this.#unanswered = 0;
      this.#options.onUp(hearing);
      this.#beat(connection);
    } catch (error) {
      this.#lose(connection, error);
    }
  }

  async #setUp(connection: RedisConnection): Promise<Hearing | undefined> {
    const { wanted, keyPrefix, channel, onRefused } = this.#options;
    if (wanted === 'tracking') {
      try {
        const id = (await connection.call('CLIENT', 'ID')) as number;
        await connection.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', id, 'BCAST', 'PREFIX', keyPrefix);
        await connection.call('subscribe', TRACKED, channel);
        return 'tracking';
      } catch (error) {
        if (!isRefusal(error)) throw error;
        onRefused('pubsub', error);
      }
    }
    try {
      await connection.call('subscribe', channel);
      return 'pubsub';
    } catch (error) {
      if (!isRefusal(error)) throw error;
      onRefused('none', error);
      return undefined;
    }
  }

  #hear(channel: string, message: unknown): void {
    const { onKeys, onPublished } = this.#options;
    if (channel !== TRACKED) onPublished(String(message));
    // No keys: all of them, as after FLUSHDB.
    else onKeys(Array.isArray(message) ? message.map(String) : undefined);
  }

  /** An answer to a question that was asked after a change comes after the news of it. */
  #beat(connection: RedisConnection): void {
    const { clock, heartbeatMs, onCurrent } = this.#options;
    if (this.#unanswered * heartbeatMs >= DEAD_AFTER_MS) {
      this.#lose(connection, new Error('@x/cache: no sign of life from Redis'));
      return;
    }
    if (this.#unanswered++ === 0) {
      const askedAt = clock.now();
      connection.call('ping').then(
        () => {
          if (this.#connection !== connection) return;
          this.#unanswered = 0;
          onCurrent(askedAt);
        },
        (error: unknown) => this.#lose(connection, error),
      );
    }
    this.#later(heartbeatMs, () => this.#beat(connection));
  }

  #lose(connection: RedisConnection, reason: unknown): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    connection.disconnect();
    if (this.#up) {
      this.#up = false;
      this.#options.onDown(reason ?? this.#reason ?? new Error('@x/cache: the connection to Redis was closed'));
    }
    const delayMs = this.#failures++ === 0 ? 0 : this.#options.retryAfterMs;
    this.#later(delayMs, () => void this.#attempt());
  }

  /** Redis lets us hear nothing: it may later. */
  #deaf(connection: RedisConnection): void {
    this.#connection = undefined;
    connection.disconnect();
    this.#later(60_000, () => void this.#attempt());
  }

  #later(ms: number, fn: () => void): void {
    const { clock } = this.#options;
    clock.clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = clock.setTimeout(fn, ms);
    (this.#timer as { unref?: () => void }).unref?.();
  }
}

/** The server does not know the command, or does not allow it: trying again is no use. */
export function isRefusal(error: unknown): boolean {
  const { name, message } = error as Error;
  return name === 'ReplyError' && /^(ERR|NOPERM)/.test(message) && !message.includes('max number of clients');
}
