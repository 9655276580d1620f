import { PoolError } from '../errors.ts';
import { ConnectionStock } from './connection-stock.ts';
import { LeakWatch } from './leak-watch.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';
import { WaitingLine } from './waiting-line.ts';

/** Lends the connections of a pool, lets those wait who find none, and cleans what comes back before it is lent again. */
export class Lending {
  readonly stock: ConnectionStock;
  readonly line: WaitingLine;
  readonly leaks: LeakWatch;
  readonly #settings: PoolSettings;
  #acquired = 0;

  constructor(settings: PoolSettings) {
    this.#settings = settings;
    this.line = new WaitingLine(settings.clock);
    this.leaks = new LeakWatch(settings.leakDetectionMs, settings.clock);
    this.stock = new ConnectionStock(settings, {
      waiting: () => this.line.length,
      offer: (connection) => this.#hand(connection),
      refuse: (error) => this.line.refuseAll(error),
    });
  }

  /** How many were lent. */
  get acquired(): number {
    return this.#acquired;
  }

  /** A warm connection, if there is one and nobody waits for it. */
  takeIdle(): PgConnection | undefined {
    const { idle, closed } = this.stock;
    if (closed || this.line.length > 0) return undefined;
    const connection = idle.at(-1);
    if (connection === undefined) return undefined;
    const now = this.#settings.clock.now();
    if (now - connection.lastUsedAt > this.#settings.validateAfterIdleMs) return undefined;
    idle.pop();
    connection.takenAt = now;
    this.#acquired++;
    const place = this.leaks.place();
    if (place !== undefined) this.leaks.taken(connection, place);
    return connection;
  }

  /** Waits for a connection, at most `acquireTimeoutMs`, or `timeoutMs` if that is less. */
  async acquire(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<PgConnection> {
    const { acquireTimeoutMs, maxSize, maxWaiting } = this.#settings;
    const { stock, line } = this;
    if (stock.closed) throw this.closedError();
    if (line.length >= maxWaiting + stock.idle.length + maxSize - stock.size) {
      throw this.#exhausted('ERR_OVERLOADED', `${line.length} callers wait already`);
    }
    const place = this.leaks.place();
    const own = timeoutMs !== undefined && timeoutMs < acquireTimeoutMs;
    const ms = own ? timeoutMs : acquireTimeoutMs;
    const turn = line.join(signal, ms, () =>
      own
        ? new PoolError('ERR_TIMEOUT', `The query did not get a connection within ${ms} ms`, { cause: stock.down })
        : this.#exhausted('ERR_POOL_EXHAUSTED', `no connection was free within ${ms} ms`),
    );
    this.#serve();
    const connection = await turn;
    this.#acquired++;
    if (place !== undefined) this.leaks.taken(connection, place);
    return connection;
  }

  /** Takes a connection back; `reset`: with its session as new. */
  release(connection: PgConnection, reset: boolean): void {
    connection.uses++;
    if (this.leaks.on) this.leaks.returned(connection);
    if (connection.quiet && !reset && !connection.inTransaction) this.#giveBack(connection);
    else void this.#clean(connection, reset).then(() => this.#giveBack(connection));
  }

  /** Refuses those who wait, and lets what is lent out come back. */
  async close(timeoutMs: number): Promise<void> {
    const closing = this.stock.close(timeoutMs, this.closedError());
    this.line.refuseAll(this.closedError());
    await closing;
    this.leaks.stop();
  }

  closedError(): PoolError {
    return new PoolError('ERR_POOL_CLOSED', `PostgresPool ${this.#settings.name} is closed`);
  }

  /** Gives idle connections to those who wait, and has more opened if they are too few. */
  #serve(): void {
    while (this.line.length > 0) {
      const connection = this.stock.idle.pop();
      if (connection === undefined) break;
      const idleMs = this.#settings.clock.now() - connection.lastUsedAt;
      if (idleMs > this.#settings.validateAfterIdleMs) void this.#validate(connection);
      else this.#hand(connection);
    }
    this.stock.openForWaiting();
  }

  #hand(connection: PgConnection): void {
    if (!this.line.serve(connection)) this.stock.rest(connection);
  }

  /** A connection may have been cut off without a word; a borrower should not be the one to find out. */
  async #validate(connection: PgConnection): Promise<void> {
    try {
      await connection.run({ text: '' }, validationTimeoutMs, undefined);
    } catch {
      connection.destroy();
    }
    this.release(connection, false);
  }

  /** Nothing of one borrower is left for the next. What cannot be cleaned is dropped. */
  async #clean(connection: PgConnection, reset: boolean): Promise<void> {
    try {
      await connection.settle();
      if (connection.inTransaction) await connection.run({ text: 'ROLLBACK' }, cleaningTimeoutMs, undefined);
      if (reset) await connection.run({ text: resetSession }, cleaningTimeoutMs, undefined);
      if (connection.inTransaction) connection.destroy();
    } catch {
      connection.destroy();
    }
  }

  #giveBack(connection: PgConnection): void {
    connection.lastUsedAt = this.#settings.clock.now();
    const end = this.#endOf(connection);
    if (end === undefined) this.#hand(connection);
    else this.stock.remove(connection, end);
  }

  /** Why a connection that comes back is not lent again, if it is not. */
  #endOf(connection: PgConnection): string | undefined {
    if (connection.broken !== undefined) return 'broken';
    if (this.stock.closed) return 'closed';
    if (connection.uses >= this.#settings.maxUses) return 'maxUses';
    // While somebody waits, an old connection is better than none; the sweep sees to it when it rests.
    return connection.expiresAt === 0 ? 'lifetime' : undefined;
  }

  #exhausted(code: 'ERR_POOL_EXHAUSTED' | 'ERR_OVERLOADED', why: string): PoolError {
    return new PoolError(code, `PostgresPool ${this.#settings.name}: ${why}; ${this.stock.describeUse()}`, {
      retryAfterMs: 1_000,
      cause: this.stock.down ?? this.leaks.longest(),
    });
  }
}

/** How long ROLLBACK and the like may take before the connection is given up. */
const cleaningTimeoutMs = 5_000;
const validationTimeoutMs = 1_000;

/** DISCARD ALL, but prepared statements stay: the client remembers which ones it has made. */
const resetSession =
  'CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES';
