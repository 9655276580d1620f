import { PoolError } from '../errors.ts';
import { sqlStateOf } from './connect-error.ts';
import { ConnectionStock } from './connection-stock.ts';
import { LeakWatch } from './leak-watch.ts';
import type { PgConnection } from './pg-connection.ts';
import type { PoolSettings } from './pool-options.ts';
import { resetSession } from './session-reset.ts';
import { WaitingLine } from './waiting-line.ts';

/** Lends the connections of a pool, lets those wait who find none, and cleans what comes back before it is lent again. */
export class Lending {
  readonly stock: ConnectionStock;
  readonly line: WaitingLine;
  readonly leaks: LeakWatch;
  readonly #settings: PoolSettings;
  #acquired = 0;
  #loanMs = 0;
  /** Connections whose sessions are being made as new. */
  #renewing = 0;
  #renewAfterMs = renewAfterMs;

  constructor(settings: PoolSettings) {
    this.#settings = settings;
    this.line = new WaitingLine(settings.clock);
    this.leaks = new LeakWatch(settings.leakDetectionMs, settings.clock);
    this.stock = new ConnectionStock(settings, {
      // What is being renewed comes back sooner than another can be opened.
      waiting: () => Math.max(0, this.line.length - this.#renewing),
      renew: (connection) => {
        connection.record.takenAt = settings.clock.now();
        return this.#renew(connection, false);
      },
      offer: (connection) => this.#hand(connection),
      refuse: (error) => this.line.refuseAll(error),
    });
  }

  /** How many were lent. */
  get acquired(): number {
    return this.#acquired;
  }

  /** How long connections have been out, added up, those that are still out included. Milliseconds. */
  get loanMs(): number {
    return this.#loanMs + this.stock.loanMs();
  }

  /** A warm connection, if there is one and nobody waits for it. */
  takeIdle(): PgConnection | undefined {
    const { idle, closed } = this.stock;
    if (closed || this.line.length > 0) return undefined;
    const connection = idle.at(-1);
    if (connection === undefined) return undefined;
    const now = this.#settings.clock.now();
    if (now - connection.record.lastUsedAt > this.#settings.validateAfterIdleMs) return undefined;
    idle.pop();
    connection.record.takenAt = now;
    this.#acquired++;
    const place = this.leaks.place();
    if (place !== undefined) this.leaks.taken(connection, place);
    return connection;
  }

  /** Waits for a connection, at most `acquireTimeoutMs`, or `timeoutMs` if that is less. */
  async acquire(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<PgConnection> {
    const { acquireTimeoutMs } = this.#settings;
    const { stock, line } = this;
    if (stock.closed) throw this.closedError();
    if (line.length >= this.mayWait) throw this.exhausted('ERR_OVERLOADED', `${line.length} callers wait already`);
    const place = this.leaks.place();
    const own = timeoutMs !== undefined && timeoutMs < acquireTimeoutMs;
    const ms = own ? timeoutMs : acquireTimeoutMs;
    const connection = await this.#turn(signal, ms, () =>
      own
        ? new PoolError('ERR_TIMEOUT', `The query did not get a connection within ${Math.ceil(ms)} ms`, {
            cause: stock.down,
          })
        : this.exhausted('ERR_POOL_EXHAUSTED', `no connection was free within ${ms} ms`),
    );
    if (place !== undefined) this.leaks.taken(connection, place);
    return connection;
  }

  /** One place in the line for many callers, whose bounds and time-outs are seen to elsewhere. */
  acquireForMany(): Promise<PgConnection> {
    return this.#turn(undefined, Number.POSITIVE_INFINITY, () => undefined);
  }

  /** How many callers may wait. */
  get mayWait(): number {
    const { idle, size } = this.stock;
    return this.#settings.maxWaiting + idle.length + this.#renewing + this.#settings.maxSize - size;
  }

  /** Takes a connection back; `wantsReset`: with its session as new. */
  release(connection: PgConnection, wantsReset: boolean): void {
    const { record } = connection;
    const { reset, clock } = this.#settings;
    const now = clock.now();
    record.uses++;
    record.lastUsedAt = now;
    if (this.leaks.on) this.leaks.returned(connection);
    if (reset !== 'never') record.resetAt = record.newAt + this.#renewAfterMs;
    if (!connection.quiet || connection.inTransaction) {
      void this.#clean(connection, wantsReset);
      return;
    }
    const changed = wantsReset || this.#isChanged(connection);
    if (changed || record.resetAt <= now) void this.#renew(connection, changed);
    else this.#giveBack(connection, now);
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

  async #turn(signal: AbortSignal | undefined, ms: number, timedOut: () => unknown): Promise<PgConnection> {
    const turn = this.line.join(signal, ms, timedOut);
    this.#serve();
    const connection = await turn;
    this.#acquired++;
    return connection;
  }

  /** Gives idle connections to those who wait, and has more opened if they are too few. */
  #serve(): void {
    while (this.line.length > 0) {
      const connection = this.stock.idle.pop();
      if (connection === undefined) break;
      const idleMs = this.#settings.clock.now() - connection.record.lastUsedAt;
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
    connection.record.takenAt = this.#settings.clock.now();
    try {
      await connection.run({ text: '' }, validationTimeoutMs, undefined);
    } catch {
      connection.destroy();
    }
    this.#giveBack(connection, this.#settings.clock.now());
  }

  /** Waits until nothing runs, and rolls back what is open. What cannot be cleaned is dropped. */
  async #clean(connection: PgConnection, wantsReset: boolean): Promise<void> {
    try {
      await connection.settle();
      if (connection.inTransaction) await connection.run({ text: 'ROLLBACK' }, cleaningTimeoutMs, undefined);
      if (connection.inTransaction) connection.destroy();
    } catch {
      connection.destroy();
    }
    // A statement whose caller had left tells what it did only when it ends.
    const changed = wantsReset || this.#isChanged(connection);
    if (changed && connection.broken === undefined) await this.#renew(connection, true);
    else this.#giveBack(connection, this.#settings.clock.now());
  }

  #isChanged({ record }: PgConnection): boolean {
    return record.sessionChanged && this.#settings.reset !== 'never';
  }

  /** Makes a session as new, in which something is known to be left (`changed`), or nothing is known. */
  async #renew(connection: PgConnection, changed: boolean): Promise<void> {
    const { clock } = this.#settings;
    this.#renewing++;
    try {
      await resetSession(connection, changed ? cleaningTimeoutMs : validationTimeoutMs);
      connection.record.renewed(clock.now());
    } catch (error) {
      // A server, or what stands before it, that has no such commands is not asked each second.
      if (!changed && isUnknown(error)) {
        this.#renewAfterMs = Number.POSITIVE_INFINITY;
        connection.record.resetAt = Number.POSITIVE_INFINITY;
      } else connection.destroy();
    }
    this.#renewing--;
    this.#giveBack(connection, clock.now());
  }

  #giveBack(connection: PgConnection, now: number): void {
    this.#loanMs += now - connection.record.takenAt;
    if (this.stock.closed) this.stock.remove(connection, 'closed');
    else if (connection.broken !== undefined) this.stock.remove(connection, 'broken');
    else if (!connection.record.isSpent(now) || this.stock.retire(connection)) this.#hand(connection);
  }

  /** The error for who gets no connection. */
  exhausted(code: 'ERR_POOL_EXHAUSTED' | 'ERR_OVERLOADED', why: string): PoolError {
    return new PoolError(code, `PostgresPool ${this.#settings.name}: ${why}; ${this.stock.describeUse()}`, {
      retryAfterMs: 1_000,
      cause: this.stock.down ?? this.leaks.longest(),
    });
  }
}

/** How long what no text shows may be left in the session of a connection that is lent for single statements. */
const renewAfterMs = 1_000;
/** How long ROLLBACK and the like may take before the connection is given up. */
const cleaningTimeoutMs = 5_000;
const validationTimeoutMs = 1_000;

/** Not there, not allowed, or not supported: class 42 or 0A of SQLSTATE. */
function isUnknown(error: unknown): boolean {
  return /^(?:42|0A)/.test(sqlStateOf(error) ?? '');
}
