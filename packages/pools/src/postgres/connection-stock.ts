import { AsyncLocalStorage } from 'node:async_hooks';
import { longestTimerMs } from '../check-options.ts';
import { openConnection } from './open-connection.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';
import { Sweep } from './sweep.ts';

/** Those who want connections, as far as the stock must know. */
export interface Demand {
  /** How many wait for one. */
  waiting(): number;
  /** One is free: somebody takes it, or it is put to rest. */
  offer(connection: PgConnection): void;
  /** There is none, and none can be made. */
  refuse(error: unknown): void;
  /** The session of one that nobody has is to be as new; then it is offered. */
  renew(connection: PgConnection): Promise<void>;
}

/** The connections of a pool, idle and lent out: opened as they are needed, kept at `minSize`, and counted. */
export class ConnectionStock {
  /** In the order of their last use: the last one is lent first, and the first ones may go cold and be closed. */
  readonly idle: PgConnection[] = [];
  readonly #settings: PoolSettings;
  readonly #demand: Demand;
  readonly #sweep: Sweep;
  readonly #all = new Set<PgConnection>();
  readonly #destroyed: Record<string, number> = {};
  // A socket outlives the call that opened it: it belongs to the pool's context, not to that caller's.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #created = 0;
  #connecting = 0;
  #keepsMinimum = false;
  #down: unknown;
  #failedAttempts = 0;
  #refillTimer: unknown;
  #closed = false;
  #onDrained: (() => void) | undefined;

  constructor(settings: PoolSettings, demand: Demand) {
    this.#settings = settings;
    this.#demand = demand;
    this.#sweep = new Sweep(settings, this);
  }

  get size(): number {
    return this.#all.size;
  }
  get connecting(): number {
    return this.#connecting;
  }
  get created(): number {
    return this.#created;
  }
  get destroyed(): { [reason: string]: number } {
    return { ...this.#destroyed };
  }
  /** Whether one more may be opened. */
  get hasRoom(): boolean {
    return this.#all.size + this.#connecting < this.#settings.maxSize;
  }
  get closed(): boolean {
    return this.#closed;
  }
  /** The error of the last attempt to connect, until one succeeds. */
  get down(): unknown {
    return this.#down;
  }

  /** Opens `minSize` connections, at least one, all or none; from then on there are never fewer for long. */
  async start(): Promise<void> {
    const wanted = Math.max(1, this.#settings.minSize) - this.#all.size - this.#connecting;
    const attempts = Array.from({ length: Math.max(0, wanted) }, () => this.#connectWarm());
    try {
      for (const connection of await Promise.all(attempts)) this.#admit(connection);
      this.#keepsMinimum = true;
      this.#refill();
    } catch (error) {
      for (const attempt of attempts) {
        attempt.then(
          (connection) => connection.end(),
          () => {},
        );
      }
      throw error;
    }
  }

  /** Whether the server could not be reached when it was last tried, and no connection is left. */
  get away(): boolean {
    return this.#down !== undefined && this.#all.size === 0;
  }

  /** Tries, after a while, whether the server is back, though nobody waits. */
  probe(): void {
    if (!this.#closed && this.#connecting === 0) this.#refillLater(1);
  }

  /** Opens as many as those who wait lack. */
  openForWaiting(): void {
    this.#open(this.#demand.waiting() - this.#connecting);
  }

  /** Opens one more. */
  async add(): Promise<void> {
    this.#admit(await this.#connect());
  }

  /** Nobody wants it now. */
  rest(connection: PgConnection): void {
    let place = this.idle.length;
    while ((this.idle[place - 1]?.record.lastUsedAt ?? 0) > connection.record.lastUsedAt) place--;
    this.idle.splice(place, 0, connection);
    this.#sweep.comeFor(connection);
  }

  /** Closes a connection that is idle; one that is lent out is seen to when it comes back. */
  removeIdle(connection: PgConnection, reason: string): void {
    if (this.#takeOut(connection)) this.remove(connection, reason);
  }

  /** Has the session of a connection that is idle made as new. */
  async renewIdle(connection: PgConnection): Promise<void> {
    if (this.#takeOut(connection)) await this.#demand.renew(connection);
  }

  /** Closes a connection that nobody has, and sees to it that there are enough others. */
  remove(connection: PgConnection, reason: string): void {
    if (!this.#all.delete(connection)) return;
    this.#destroyed[reason] = (this.#destroyed[reason] ?? 0) + 1;
    void connection.end();
    if (this.#all.size === 0) this.#onDrained?.();
    if (this.#closed) return;
    this.openForWaiting();
    if (reason === 'maxUses' || reason === 'lifetime') this.#refill();
    else this.#refillLater();
  }

  /**
   * One that is to be replaced goes, after its replacement has come where there is room for both. `true`: it is to be used
   * meanwhile.
   */
  retire(connection: PgConnection): boolean {
    const { clock, minSize, maxSize } = this.#settings;
    const reason = connection.record.endsBy;
    const replaced = connection.record.expiresAt === 0;
    const needed = this.#all.size <= minSize || this.#demand.waiting() > 0;
    if (replaced || !needed || this.#all.size >= maxSize) {
      this.#drop(connection, reason);
      return false;
    }
    if (!this.hasRoom) {
      // Another one is being replaced: one after the other.
      connection.record.expiresAt = clock.now() + retireAgainMs;
      return true;
    }
    // It works still: when the server cannot be reached, it is tried again later.
    connection.record.expiresAt = clock.now() + this.#settings.connection.connectTimeoutMs;
    this.add().then(
      () => {
        this.removeIdle(connection, reason);
        // Lent out meanwhile: it goes when it comes back.
        connection.record.expiresAt = 0;
      },
      () => {},
    );
    return true;
  }

  /** How long all that are lent out have been out, added up. Milliseconds. */
  loanMs(): number {
    const now = this.#settings.clock.now();
    let sum = 0;
    for (const connection of this.#all) if (!this.idle.includes(connection)) sum += now - connection.record.takenAt;
    return sum;
  }

  /** How much is in use, in words. */
  describeUse(): string {
    const now = this.#settings.clock.now();
    let oldest = 0;
    for (const connection of this.#all) {
      if (!this.idle.includes(connection)) oldest = Math.max(oldest, now - connection.record.takenAt);
    }
    const inUse = this.#all.size - this.idle.length;
    return `${inUse} of ${this.#settings.maxSize} connections are in use, the oldest for ${Math.round(oldest)} ms`;
  }

  /** Closes what is idle, waits for what is lent out, and when the time is over stops that with `refusal`. */
  async close(timeoutMs: number, refusal: unknown): Promise<void> {
    const { clock } = this.#settings;
    this.#closed = true;
    clock.clearTimeout(this.#refillTimer);
    this.#sweep.stop();
    const idle = this.idle.splice(0);
    const ended = idle.map((connection) => connection.end());
    for (const connection of idle) this.remove(connection, 'closed');
    if (this.#all.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = timeoutMs > longestTimerMs ? undefined : clock.setTimeout(resolve, timeoutMs);
        this.#onDrained = () => {
          clock.clearTimeout(timer);
          resolve();
        };
      });
    }
    await Promise.all([...ended, ...[...this.#all].map((connection) => connection.stopAndEnd(refusal))]);
    for (const connection of [...this.#all]) this.remove(connection, 'closed');
  }

  #takeOut(connection: PgConnection): boolean {
    const index = this.idle.indexOf(connection);
    if (index >= 0) this.idle.splice(index, 1);
    return index >= 0;
  }

  #drop(connection: PgConnection, reason: string): void {
    if (this.idle.includes(connection)) this.removeIdle(connection, reason);
    else this.remove(connection, reason);
  }

  #open(wanted: number): void {
    const room = this.#settings.maxSize - this.#all.size - this.#connecting;
    // A server that is away is asked by one at a time, whoever waits.
    const limit = this.#down === undefined ? room : Math.min(room, 1 - this.#connecting);
    for (let i = Math.min(wanted, limit); i > 0 && !this.#closed; i--) this.add().catch(() => {});
  }

  async #connect(): Promise<PgConnection> {
    this.#connecting++;
    try {
      const connection = await this.#inOwnContext(() => openConnection(this.#settings.connection));
      this.#connecting--;
      this.#down = undefined;
      this.#failedAttempts = 0;
      return connection;
    } catch (error) {
      this.#connecting--;
      this.#down = error;
      this.#failedAttempts++;
      if (this.#all.size === 0 && this.#connecting === 0) this.#demand.refuse(error);
      this.#refillLater();
      throw error;
    }
  }

  /** A backend looks up much that it then remembers when it is first asked anything; nobody has to wait for that. */
  async #connectWarm(): Promise<PgConnection> {
    const connection = await this.#connect();
    await connection
      .run(warmUp, this.#settings.connection.connectTimeoutMs, undefined)
      .catch(() => connection.destroy());
    return connection;
  }

  #admit(connection: PgConnection): void {
    if (this.#closed) {
      void connection.end();
      return;
    }
    const { clock, random, maxLifetimeMs, maxUses } = this.#settings;
    this.#created++;
    this.#all.add(connection);
    connection.onBroken = () => this.removeIdle(connection, 'broken');
    connection.record.lastUsedAt = clock.now();
    connection.record.newAt = connection.record.lastUsedAt;
    connection.record.expiresAt = connection.record.lastUsedAt + maxLifetimeMs * (1 - random() / 10);
    connection.record.maxUses = Math.ceil(maxUses * (1 - random() / 10));
    if (connection.broken !== undefined) {
      this.remove(connection, 'broken');
      return;
    }
    this.#demand.offer(connection);
    this.openForWaiting();
  }

  #refill(atLeast = 0): void {
    if (this.#closed) return;
    const missing = this.#keepsMinimum ? this.#settings.minSize - this.#all.size - this.#connecting : 0;
    this.#open(Math.max(atLeast, missing, this.#demand.waiting() - this.#connecting));
    if (this.#down !== undefined) this.#refillLater();
  }

  /** Soon, then at intervals that double up to half a second; never all pools at the same moment. */
  #refillLater(atLeast = 0): void {
    const { clock, minSize, random } = this.#settings;
    const short = this.#keepsMinimum && this.#all.size + this.#connecting < minSize;
    if (this.#refillTimer !== undefined || this.#closed || (!short && atLeast + this.#demand.waiting() === 0)) return;
    const ms = (0.5 + random() / 2) * Math.min(500, 25 * 2 ** Math.min(this.#failedAttempts, 10));
    const timer = clock.setTimeout(() => {
      this.#refillTimer = undefined;
      this.#refill(atLeast);
    }, ms);
    (timer as { unref?: () => void } | undefined)?.unref?.();
    this.#refillTimer = timer;
  }
}

const retireAgainMs = 50;
const warmUp = { text: 'select $1::int', values: [1] };
