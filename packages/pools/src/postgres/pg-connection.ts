import type { Duplex } from 'node:stream';
import type pg from 'pg';
import { PoolError } from '../errors.ts';
import { cancelUntilAnswered } from './cancellation.ts';
import { endsConnection } from './connect-error.ts';
import { ConnectionRecord } from './connection-record.ts';
import { DeadlineTimer } from './deadline-timer.ts';
import { isNonsense } from './guarded-client.ts';
import type { PipelineEvents } from './pipe.ts';
import type { ConnectionSettings } from './pool-options.ts';
import { quickQuery } from './quick-query.ts';
import { RunningCommand } from './running-command.ts';
import { changesSession, mayChangeSession } from './session-state.ts';

/** One connection to the server: a pg.Client that cannot crash the process, and whose commands can be stopped. */
export class PgConnection {
  readonly client: pg.Client;
  /** Why it can no longer be used. */
  broken: unknown;
  readonly record: ConnectionRecord = new ConnectionRecord();
  /** Told once, when the connection breaks. */
  onBroken: (() => void) | undefined;
  readonly #settings: ConnectionSettings;
  #answered = true;
  #wakeAnswered: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  #current: RunningCommand | undefined;
  readonly #deadline: DeadlineTimer;
  #ended: Promise<void> | undefined;
  #pipeline: PipelineEvents | undefined;

  /** Of a client that has not connected yet. */
  constructor(client: pg.Client, settings: ConnectionSettings) {
    this.client = client;
    this.#settings = settings;
    this.#deadline = new DeadlineTimer(settings.clock, () => this.#timeOut());
    // Without these listeners a connection that the server closes is an uncaught exception.
    client.on('error', (error) => this.#break(error));
    client.on('end', () => this.#break(new Error('The server closed the connection')));
    client.on('drain', () => this.#answer());
  }

  /** Whether the last command has been answered in full and nothing is being cancelled: it can be given back as it is. */
  get quiet(): boolean {
    return this.#answered && this.#stopping === undefined;
  }

  /** Whether everything that was sent has been answered. */
  get answered(): boolean {
    return this.#answered;
  }

  get inTransaction(): boolean {
    return this.inFailedTransaction || this.client.getTransactionStatus() === 'T';
  }
  get inFailedTransaction(): boolean {
    return this.client.getTransactionStatus() === 'E';
  }

  /** Resolves when it is quiet, or broken. */
  async settle(): Promise<void> {
    while (!this.quiet && this.broken === undefined) await (this.#stopping ?? this.untilAnswered());
  }

  /** Resolves when everything that was sent has been answered, or it is broken, or the time is over. */
  untilAnswered(atMostMs?: number): Promise<void> {
    if (this.#answered || this.broken !== undefined) return Promise.resolve();
    const { clock } = this.#settings;
    return new Promise((resolve) => {
      const timer = atMostMs === undefined ? undefined : clock.setTimeout(resolve, atMostMs);
      const before = this.#wakeAnswered;
      this.#wakeAnswered = () => {
        clock.clearTimeout(timer);
        before?.();
        resolve();
      };
    });
  }

  /**
   * Runs one command. When the time is over or the signal aborts, the caller is told at once, and the server is asked to
   * stop; meanwhile the connection is not quiet.
   */
  run<Row extends pg.QueryResultRow>(
    command: pg.QueryConfig,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<pg.QueryResult<Row>> {
    const ready = this.quiet && this.broken === undefined && !signal?.aborted;
    return ready ? this.#send(command, timeoutMs, signal) : this.#sendWhenQuiet(command, timeoutMs, signal);
  }

  /** From now on `pipe` sends, and not `run`. The connection must be quiet. */
  beginPipeline(events: PipelineEvents): void {
    this.#pipeline = events;
    this.#setPipelining(true);
  }

  /** The contrary; everything must have been answered, or the connection be broken. */
  endPipeline(): void {
    this.#pipeline = undefined;
    this.#setPipelining(false);
  }

  /**
   * Sends one more command, whether or not those before it have been answered. `told` gets an error or a result; in rare
   * cases both.
   */
  pipe(command: pg.QueryConfig, told: (error: unknown, result: pg.QueryResult | undefined) => void): void {
    this.#answered = false;
    if (mayChangeSession(command.text)) this.record.changedBy(command.text);
    this.#writeTogether();
    const query = quickQuery(command, (error, result) => {
      if (error) told(this.#failure(error), undefined);
      else told(undefined, result);
    });
    this.#submit(query, (error) => told(error, undefined));
  }

  /** Asks the server to stop what runs; until that is over, the connection is not quiet. */
  cancel(): void {
    this.#stopping ??= cancelUntilAnswered(this, this.#settings).finally(() => {
      this.#stopping = undefined;
    });
  }

  /** Hands a cursor to the client as it is; until that is closed, the connection is not quiet. */
  submit<T extends pg.Submittable>(cursor: T): T {
    this.checkAlive();
    this.#answered = false;
    const { text } = cursor as { text?: unknown };
    if (typeof text !== 'string') this.record.changedBy(undefined);
    else if (mayChangeSession(text)) this.record.changedBy(text);
    return this.client.query(cursor);
  }

  /** Throws when it can no longer be used. */
  checkAlive(): void {
    if (this.broken !== undefined) throw this.#lost(this.broken);
  }

  /** Says goodbye to the server; what does not answer is cut off. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  /** Cancels what runs, whose caller is told `reason`, and ends. */
  async stopAndEnd(reason: unknown): Promise<void> {
    if (this.#pipeline !== undefined) this.#pipeline.onStop(reason);
    else if (this.#current !== undefined) this.#stopRunning(this.#current, reason);
    await this.settle();
    const end = this.end();
    this.#break(reason);
    await end;
  }

  destroy(why: unknown = new Error('The connection was destroyed')): void {
    // A `stream` of the caller's own making may be none at all.
    (this.client.connection.stream as Duplex | undefined)?.destroy();
    this.#break(why);
  }

  /** pg's types have it as read-only: it must not change while anything is under way, and that is seen to here. */
  #setPipelining(on: boolean): void {
    (this.client as { pipeline: boolean }).pipeline = on;
  }

  /** What is sent in one turn of the event loop goes out in one write. */
  #writeTogether(): void {
    const stream = this.client.connection.stream as Duplex;
    if (stream.writableCorked > 0) return;
    stream.cork();
    process.nextTick(() => stream.uncork());
  }

  async #sendWhenQuiet<Row extends pg.QueryResultRow>(
    command: pg.QueryConfig,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<pg.QueryResult<Row>> {
    // Several may wait here: each looks again, since the one before has just sent its own.
    while (!this.quiet && this.broken === undefined) await this.settle();
    signal?.throwIfAborted();
    this.checkAlive();
    return this.#send(command, timeoutMs, signal);
  }

  #send<Row extends pg.QueryResultRow>(
    command: pg.QueryConfig,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<pg.QueryResult<Row>> {
    return new Promise((resolve, reject) => {
      const running = new RunningCommand(timeoutMs, resolve, reject);
      const query = quickQuery(command, (error, result) => {
        if (!error) {
          if (changesSession(command.text, result)) this.record.changedBy(command.text);
          running.succeed(result);
          return;
        }
        if (changesSession(command.text)) this.record.changedBy(command.text);
        this.#deadline.set(afterErrorMs);
        running.fail(this.#failure(error));
      });
      if (signal !== undefined) running.watch(signal, (reason) => this.#stopRunning(running, reason));
      this.#current = running;
      this.#answered = false;
      this.#deadline.set(timeoutMs);
      this.#submit(query, (error) => running.fail(error));
    });
  }

  /** What pg fails to write as a whole leaves a connection of which nobody knows what the server makes of it. */
  #submit(query: pg.Query, failed: (error: unknown) => void): void {
    try {
      this.client.query(query);
    } catch (error) {
      failed(error);
      this.destroy(error);
    }
  }

  #timeOut(): void {
    if (this.#current === undefined) return;
    const { timeoutMs } = this.#current;
    this.#current.fail(new PoolError('ERR_TIMEOUT', `The query did not end within ${Math.ceil(timeoutMs)} ms`));
    this.cancel();
  }

  #stopRunning(running: RunningCommand, reason: unknown): void {
    if (running.fail(reason)) this.cancel();
  }

  async #end(): Promise<void> {
    if (this.broken !== undefined || !this.quiet) return this.destroy();
    const { clock } = this.#settings;
    const timer = clock.setTimeout(() => this.destroy(), goodbyeTimeoutMs);
    await this.client.end().catch(() => {});
    clock.clearTimeout(timer);
  }

  #answer(): void {
    this.#answered = true;
    this.#deadline.lift();
    // Else its result lived for as long as the connection is idle.
    this.#current = undefined;
    const wake = this.#wakeAnswered;
    this.#wakeAnswered = undefined;
    wake?.();
    this.#pipeline?.onAnswered();
  }

  #break(error: unknown): void {
    if (this.broken !== undefined) return;
    this.broken = error;
    this.#deadline.stop();
    this.#current?.fail(this.#lost(error));
    this.#wakeAnswered?.();
    this.#wakeAnswered = undefined;
    const { onBroken } = this;
    this.onBroken = undefined;
    onBroken?.();
  }

  /** What to tell of an error that pg gave: the same, or that the connection is lost. */
  #failure(error: Error): unknown {
    if (endsConnection(error)) this.#break(error);
    // What follows cannot be understood either.
    else if (isNonsense(error)) this.destroy(error);
    return this.broken === undefined || endsConnection(error) ? error : this.#lost(this.broken);
  }

  /** What the server said when it ended the connection says more than the socket's end that follows. */
  #lost(why: unknown): unknown {
    if (endsConnection(why) || why instanceof PoolError) return why;
    return new PoolError('ERR_CONNECTION_LOST', 'The connection to PostgreSQL broke', {
      cause: why,
      sqlState: '08006',
    });
  }
}

/** How long after an error the server may take to say that it is ready for the next command. */
const afterErrorMs = 500;
const goodbyeTimeoutMs = 1_000;
