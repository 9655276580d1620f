import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import type { Lending } from './lending.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';
import { tell } from './tell.ts';
import { untilAborted } from './until-aborted.ts';

export interface ListenOptions {
  /**
   * Called when the connection had been lost and listens again. What was notified meanwhile is lost: read again what the
   * notifications would have told.
   */
  onReconnect?: (() => void) | undefined;
  /** Ends the subscription. */
  signal?: AbortSignal | undefined;
}

/** What a notification brings along beside its payload. */
export interface NotificationInfo {
  channel: string;
  /** The process of the server that sent it. */
  processId: number;
}

/** Told of each notification. What it throws is ignored: whoever listens badly must not stop the others. */
export type NotificationListener = (payload: string, info: NotificationInfo) => void;

/** A channel that is listened to until `close()`. */
export interface Subscription extends AsyncDisposable {
  close(): Promise<void>;
}

interface Subscriber {
  notify(payload: string, info: NotificationInfo): unknown;
  reconnected(): unknown;
}

/** LISTEN for all who want it over one connection, which is made again when it is lost. */
export class Listener {
  readonly #lending: Lending;
  readonly #settings: PoolSettings;
  readonly #channels = new Map<string, Set<Subscriber>>();
  #connection: PgConnection | undefined;
  /** LISTEN, UNLISTEN and connecting come one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #attempts = 0;
  #timer: unknown;
  #closed = false;

  constructor(lending: Lending, settings: PoolSettings) {
    this.#lending = lending;
    this.#settings = settings;
  }

  /** Resolves when the server listens; rejects when it cannot be reached. */
  async listen(channel: string, listener: NotificationListener, options: ListenOptions): Promise<Subscription> {
    const { signal, onReconnect } = options;
    signal?.throwIfAborted();
    const inOwnContext = AsyncLocalStorage.snapshot();
    const subscriber: Subscriber = {
      notify: (payload, info) => inOwnContext(listener, payload, info),
      reconnected: () => onReconnect && inOwnContext(onReconnect),
    };
    const subscribers = this.#channels.get(channel) ?? new Set();
    this.#channels.set(channel, subscribers.add(subscriber));
    const close = async (): Promise<void> => {
      removeAbort?.();
      if (subscribers.delete(subscriber)) await this.#inTurn(() => this.#forget(channel));
    };
    let removeAbort: (() => void) | undefined;
    try {
      await untilAborted(
        this.#inTurn(() => this.#establish(channel)),
        signal,
      );
    } catch (error) {
      void close();
      throw error;
    }
    removeAbort = signal === undefined ? undefined : onAbort(signal, () => void close());
    return { close, [Symbol.asyncDispose]: close };
  }

  /** Gives the connection back; nobody is told of anything any more. */
  close(): Promise<void> {
    this.#closed = true;
    this.#channels.clear();
    this.#settings.clock.clearTimeout(this.#timer);
    // Whoever waits for a connection is refused by the pool, which closes too.
    const connection = this.#connection;
    if (connection !== undefined) this.#detach(connection);
    return this.#letGo(connection);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #establish(channel: string): Promise<void> {
    if (this.#connection === undefined) await this.#connect();
    else await this.#run(this.#connection, `LISTEN ${pg.escapeIdentifier(channel)}`);
  }

  async #connect(): Promise<void> {
    const connection = await this.#lending.acquire(undefined, undefined);
    // It is kept for as long as somebody listens: that is no leak.
    this.#lending.leaks.returned(connection);
    try {
      const channels = [...this.#channels.keys()].map((channel) => `LISTEN ${pg.escapeIdentifier(channel)}`);
      connection.client.on('notification', this.#onNotification);
      await this.#run(connection, channels.join(';'));
    } catch (error) {
      connection.client.off('notification', this.#onNotification);
      this.#lending.release(connection, true);
      throw error;
    }
    this.#attempts = 0;
    this.#connection = connection;
    connection.client.on('end', this.#onEnd);
    if (this.#closed) await this.close();
    else if (connection.broken !== undefined) this.#onEnd();
    else this.#checkLater(connection);
  }

  async #forget(channel: string): Promise<void> {
    if (this.#channels.get(channel)?.size !== 0) return;
    this.#channels.delete(channel);
    const connection = this.#connection;
    if (connection === undefined) return;
    if (this.#channels.size > 0) {
      await this.#run(connection, `UNLISTEN ${pg.escapeIdentifier(channel)}`).catch(() => connection.destroy());
      return;
    }
    this.#detach(connection);
    await this.#letGo(connection);
  }

  #detach(connection: PgConnection): void {
    this.#connection = undefined;
    this.#settings.clock.clearTimeout(this.#timer);
    connection.client.off('notification', this.#onNotification);
    connection.client.off('end', this.#onEnd);
  }

  async #letGo(connection: PgConnection | undefined): Promise<void> {
    if (connection === undefined) return;
    await this.#run(connection, 'UNLISTEN *').catch(() => connection.destroy());
    this.#lending.release(connection, this.#settings.reset === 'always');
  }

  async #run(connection: PgConnection, text: string): Promise<void> {
    await connection.run({ text }, answerTimeoutMs, undefined);
  }

  readonly #onNotification = ({ channel, payload, processId }: pg.Notification): void => {
    for (const subscriber of [...(this.#channels.get(channel) ?? [])]) {
      tell(() => subscriber.notify(payload ?? '', { channel, processId }));
    }
  };

  readonly #onEnd = (): void => {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#detach(connection);
    this.#lending.release(connection, false);
    this.#reconnectLater();
  };

  /** At once, then at intervals that double up to a second; never all processes at the same moment. */
  #reconnectLater(): void {
    if (this.#closed) return;
    const { clock, random } = this.#settings;
    const ms =
      this.#attempts === 0 ? 0 : (0.5 + random() / 2) * Math.min(1_000, 25 * 2 ** Math.min(this.#attempts, 10));
    this.#attempts++;
    this.#timer = clock.setTimeout(() => void this.#inTurn(() => this.#reconnect()).catch(() => {}), ms);
  }

  async #reconnect(): Promise<void> {
    if (this.#channels.size === 0 || this.#connection !== undefined || this.#closed) return;
    try {
      await this.#connect();
    } catch {
      this.#reconnectLater();
      return;
    }
    for (const subscribers of [...this.#channels.values()]) {
      for (const subscriber of [...subscribers]) tell(() => subscriber.reconnected());
    }
  }

  /** A connection on which nothing is sent does not notice that nobody is at its other end. */
  #checkLater(connection: PgConnection): void {
    const { clock, listenCheckMs } = this.#settings;
    if (listenCheckMs > longestTimerMs) return;
    this.#timer = clock.setTimeout(() => {
      connection.run({ text: '' }, checkTimeoutMs, undefined).then(
        () => {
          if (this.#connection === connection) this.#checkLater(connection);
        },
        () => connection.destroy(),
      );
    }, listenCheckMs);
    (this.#timer as { unref?: () => void } | undefined)?.unref?.();
  }
}

/** How long the server may take to answer LISTEN and the like. */
const answerTimeoutMs = 5_000;
/** How long it may take to answer when it is only asked whether it is there. */
const checkTimeoutMs = 1_000;
