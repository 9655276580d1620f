import type pg from 'pg';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import { PoolError } from '../errors.ts';
import { isLoss } from './connect-error.ts';
import { LanePipes } from './lane-pipes.ts';
import type { Lending } from './lending.ts';
import { type Pipe, SharedStatement } from './pipe.ts';
import type { PoolSettings } from './pool-options.ts';

/** Runs a statement on a connection of its own. */
export type RunAlone = (
  command: pg.QueryConfig,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
) => Promise<pg.QueryResult>;

/**
 * Short reads of many callers over few connections, each read sent without waiting for the answer to the one before. The
 * connections are lent by the pool as to anybody, and given back when nothing is under way on them. A statement that runs
 * for long keeps its connection; those sent behind it are sent again on another.
 */
export class SharedLane {
  readonly #lending: Lending;
  readonly #settings: PoolSettings;
  readonly #runAlone: RunAlone;
  readonly #pipes: LanePipes;
  readonly #waiting = new Set<SharedStatement>();
  #watch: unknown;
  #moves = 0;
  #ranMs = 0;
  #waitedMs = 0;
  #acquireTimeouts = 0;

  constructor(lending: Lending, settings: PoolSettings, runAlone: RunAlone) {
    this.#lending = lending;
    this.#settings = settings;
    this.#runAlone = runAlone;
    this.#pipes = new LanePipes(lending, settings, {
      offer: (pipe) => this.#sendWaiting(pipe),
      refuse: (error) => this.#rejectAll(this.#waiting, error),
      stop: (pipe, reason) => this.#rejectAll(pipe.current, reason),
    });
  }

  /** How many wait for a connection. */
  get waiting(): number {
    return this.#waiting.size;
  }
  /** Places in the pool's own line: the lane waits once for all its callers. */
  get places(): number {
    return this.#pipes.places;
  }
  /** How often a statement was sent again on another connection. */
  get moves(): number {
    return this.#moves;
  }
  /** The time from sending to answer of all statements, added up. Milliseconds. */
  get ranMs(): number {
    return this.#ranMs;
  }
  get waitedMs(): number {
    return this.#waitedMs;
  }
  get acquireTimeouts(): number {
    return this.#acquireTimeouts;
  }

  /** `timeoutMs` counts from now; without it, the pool's time-outs for waiting and for commands hold. */
  run(
    command: pg.QueryConfig,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ): Promise<pg.QueryResult> {
    return new Promise((resolve, reject) => {
      const { clock } = this.#settings;
      const now = clock.now();
      const statement = new SharedStatement(command, signal, now, resolve, reject);
      if (timeoutMs !== undefined) {
        statement.deadline = now + timeoutMs;
        if (timeoutMs <= longestTimerMs) {
          statement.timer = clock.setTimeout(() => this.#giveUp(statement, timedOut(timeoutMs)), timeoutMs);
        }
      }
      if (signal !== undefined) {
        statement.removeAbort = onAbort(signal, () => this.#giveUp(statement, signal.reason));
      }
      this.#dispatch(statement, now);
    });
  }

  /** Tells those who wait. What is under way is waited for, or stopped, by the pool. */
  close(refusal: unknown): void {
    this.#rejectAll(this.#waiting, refusal);
  }

  #dispatch(statement: SharedStatement, now: number): void {
    const pipe = this.#lending.stock.closed ? undefined : this.#pipes.pick(now);
    if (pipe === undefined) this.#wait(statement, now);
    else this.#send(statement, pipe, now);
  }

  #wait(statement: SharedStatement, now: number): void {
    const lending = this.#lending;
    if (lending.stock.closed) {
      this.#reject(statement, lending.closedError());
      return;
    }
    const callers = this.#waiting.size + lending.line.length - this.places;
    if (callers >= lending.mayWait) {
      this.#reject(statement, lending.exhausted('ERR_OVERLOADED', `${callers} callers wait already`));
      return;
    }
    statement.waitsSince = now;
    this.#waiting.add(statement);
    this.#pipes.acquire();
    this.#watchOn();
  }

  #send(statement: SharedStatement, pipe: Pipe, now: number): void {
    if (this.#waiting.delete(statement)) this.#waitedMs += now - statement.waitsSince;
    statement.pipe = pipe;
    statement.sentAt = now;
    if (statement.deadline === undefined) statement.deadline = now + this.#settings.commandTimeoutMs;
    pipe.sent.push(statement);
    this.#watchOn();
    pipe.connection.pipe(statement.command, (error, result) => this.#answered(statement, pipe, error, result));
  }

  #sendWaiting(pipe: Pipe): void {
    const now = this.#settings.clock.now();
    for (const statement of [...this.#waiting]) this.#send(statement, pipe, now);
    // Those it was meant for may have left.
    this.#pipes.leaveIfDone(pipe);
  }

  #answered(statement: SharedStatement, pipe: Pipe, error: unknown, result: pg.QueryResult | undefined): void {
    pipe.answered(statement);
    if (!statement.settled) this.#ranMs += this.#settings.clock.now() - statement.sentAt;
    if (result !== undefined) this.#resolve(statement, result);
    // The copy of a statement that was sent again elsewhere counts only if it succeeds.
    else if (!statement.settled && statement.pipe === pipe) this.#failed(statement, pipe, error);
    if (pipe.sent.length === 0) this.#pipes.leaveIfDone(pipe);
  }

  #failed(statement: SharedStatement, pipe: Pipe, error: unknown): void {
    if (!isLoss(error)) {
      this.#reject(statement, error);
      return;
    }
    const wasRunning = !pipe.lost;
    pipe.lost = true;
    pipe.open = false;
    // What ran may be what broke the connection, and must not break that of others again.
    if (wasRunning) this.#sendAlone(statement);
    else this.#move(statement);
  }

  #move(statement: SharedStatement): void {
    this.#moves++;
    statement.pipe = undefined;
    if (++statement.moves > maxMoves) this.#sendAlone(statement);
    else this.#dispatch(statement, this.#settings.clock.now());
  }

  #sendAlone(statement: SharedStatement): void {
    const { command, signal, deadline = Number.POSITIVE_INFINITY } = statement;
    this.#moves++;
    this.#settle(statement);
    const leftMs = Math.max(1, deadline - this.#settings.clock.now());
    this.#runAlone(command, signal, leftMs).then(statement.resolve, statement.reject);
  }

  /** Its caller is told at once; when it is found to hold up its connection, the server is asked to stop it. */
  #giveUp(statement: SharedStatement, reason: unknown): void {
    this.#reject(statement, reason);
    const { pipe } = statement;
    if (pipe?.stalled && pipe.sent[0] === statement) this.#runsLong(pipe);
  }

  #resolve(statement: SharedStatement, result: pg.QueryResult): void {
    if (this.#settle(statement)) statement.resolve(result);
  }

  #reject(statement: SharedStatement, error: unknown): void {
    if (this.#settle(statement)) statement.reject(error);
  }

  #rejectAll(statements: Iterable<SharedStatement>, error: unknown): void {
    for (const statement of [...statements]) this.#reject(statement, error);
  }

  #settle(statement: SharedStatement): boolean {
    if (statement.settled) return false;
    statement.settled = true;
    const { clock } = this.#settings;
    if (this.#waiting.delete(statement)) this.#waitedMs += clock.now() - statement.waitsSince;
    if (statement.timer !== undefined) clock.clearTimeout(statement.timer);
    statement.removeAbort?.();
    return true;
  }

  #watchOn(): void {
    if (this.#watch !== undefined) return;
    const { clock, sharedStallMs } = this.#settings;
    this.#watch = clock.setTimeout(() => {
      this.#watch = undefined;
      this.#look(clock.now());
      if (this.#pipes.size > 0 || this.#waiting.size > 0) this.#watchOn();
    }, sharedStallMs / looksToStall);
  }

  #look(now: number): void {
    for (const pipe of [...this.#pipes]) {
      if (pipe.look() >= looksToStall) this.#runsLong(pipe);
      for (const statement of [...pipe.sent]) {
        const { deadline, pipe: current, timer } = statement;
        if (current !== pipe || timer !== undefined || deadline === undefined || deadline > now) continue;
        this.#giveUp(statement, timedOut(this.#settings.commandTimeoutMs));
      }
      this.#pipes.leaveIfDone(pipe);
    }
    const { acquireTimeoutMs } = this.#settings;
    for (const statement of [...this.#waiting]) {
      if (now - statement.waitsSince < acquireTimeoutMs) break;
      this.#acquireTimeouts++;
      const why = `no connection was free within ${acquireTimeoutMs} ms`;
      this.#reject(statement, this.#lending.exhausted('ERR_POOL_EXHAUSTED', why));
    }
  }

  /** The first statement runs for long: its connection takes no more, those behind it go elsewhere, and if nobody wants it, it is stopped. */
  #runsLong(pipe: Pipe): void {
    const [first, ...behind] = pipe.sent;
    pipe.stalled = true;
    pipe.open = false;
    for (const statement of behind) if (!statement.settled && statement.pipe === pipe) this.#move(statement);
    if (first?.settled || first?.pipe !== pipe) pipe.connection.cancel();
  }
}

/**
 * A statement runs for long when it is found running so often. Twice, so that answers which arrived while this process was
 * busy are read in between.
 */
const looksToStall = 2;
/** A statement that was sent again so often, and always stood behind one that ran for long, gets a connection of its own. */
const maxMoves = 2;

function timedOut(timeoutMs: number): PoolError {
  return new PoolError('ERR_TIMEOUT', `The query did not end within ${timeoutMs} ms`);
}
