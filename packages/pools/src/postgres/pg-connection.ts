import type { Duplex } from 'node:stream';
import type pg from 'pg';
import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { requestCancel } from './cancel-request.ts';
import { connectError, connectTimeout, type Destination, endsConnection } from './connect-error.ts';
import { guardedClient, isNonsense } from './guarded-client.ts';
import { quickQuery } from './quick-query.ts';

/** What whoever sends several statements at once over a connection is told of. */
export interface PipelineEvents {
  /** Everything that was sent has been answered. */
  onAnswered(): void;
  /** What is under way is to be stopped. */
  onStop(reason: unknown): void;
}

export interface ConnectionSettings {
  readonly config: pg.ClientConfig;
  readonly connectTimeoutMs: number;
  readonly cancelTimeoutMs: number;
  readonly clock: Clock;
}

/** One connection to the server: a pg.Client that cannot crash the process, and whose commands can be stopped. */
export class PgConnection {
  readonly client: pg.Client;
  /** Why it can no longer be used. */
  broken: unknown;
  uses = 0;
  /** How many of them before it is to be replaced. */
  maxUses: number = Number.POSITIVE_INFINITY;
  lastUsedAt = 0;
  takenAt = 0;
  /** When it is to be replaced, however well it works. */
  expiresAt: number = Number.POSITIVE_INFINITY;
  /** What makes it too old. */
  endsBy: 'lifetime' | 'maxUses' = 'lifetime';
  /** Told once, when the connection breaks. */
  onBroken: (() => void) | undefined;
  readonly #settings: ConnectionSettings;
  #answered = true;
  #wakeAnswered: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  #stopCurrent: ((reason: unknown) => void) | undefined;
  #ended: Promise<void> | undefined;
  #pipeline: PipelineEvents | undefined;

  private constructor(client: pg.Client, settings: ConnectionSettings) {
    this.client = client;
    this.#settings = settings;
    // Without these listeners a connection that the server closes is an uncaught exception.
    client.on('error', (error) => this.#break(error));
    client.on('end', () => this.#break(new Error('The server closed the connection')));
    client.on('drain', () => this.#answer());
  }

  static open(settings: ConnectionSettings): Promise<PgConnection> {
    const { config, connectTimeoutMs, clock } = settings;
    return new Promise((resolve, reject) => {
      const client = guardedClient(config);
      const connection = new PgConnection(client, settings);
      const to: Destination = { host: client.host, port: client.port, database: client.database, user: client.user };
      const fail = (error: PoolError): void => {
        clock.clearTimeout(timer);
        connection.onBroken = undefined;
        reject(error);
        connection.destroy();
      };
      const timer = clock.setTimeout(() => fail(connectTimeout(to, connectTimeoutMs)), connectTimeoutMs);
      // Some failures to log in are told by an event alone.
      connection.onBroken = () => fail(connectError(connection.broken, to));
      client.connect().then(
        () => {
          clock.clearTimeout(timer);
          connection.onBroken = undefined;
          resolve(connection);
        },
        (error: unknown) => fail(connectError(error, to)),
      );
    });
  }

  /** Whether the last command has been answered in full and nothing is being cancelled: it can be given back as it is. */
  get quiet(): boolean {
    return this.#answered && this.#stopping === undefined;
  }

  /** Whether everything that was sent has been answered. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Whether it is to be replaced. */
  isSpent(now: number): boolean {
    if (this.uses >= this.maxUses && this.endsBy !== 'maxUses') {
      this.endsBy = 'maxUses';
      this.expiresAt = Math.min(this.expiresAt, now);
    }
    return this.expiresAt <= now;
  }

  get inTransaction(): boolean {
    const status = this.client.getTransactionStatus();
    return status === 'T' || status === 'E';
  }

  /** Resolves when it is quiet, or broken. */
  async settle(): Promise<void> {
    while (!this.quiet && this.broken === undefined) await (this.#stopping ?? this.#untilAnswered());
  }

  /**
   * Runs one command. When the time is over or the signal aborts, the caller is told at once, and the server is asked to
   * stop; meanwhile the connection is not quiet.
   */
  async run<Row extends pg.QueryResultRow>(
    command: pg.QueryConfig,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<pg.QueryResult<Row>> {
    // Several may wait here: each looks again, since the one before has just sent its own.
    while (!this.quiet && this.broken === undefined) await this.settle();
    signal?.throwIfAborted();
    this.checkAlive();
    return new Promise((resolve, reject) => {
      const { clock } = this.#settings;
      let told = false;
      const tell = (): boolean => {
        if (told) return false;
        told = true;
        clock.clearTimeout(timer);
        removeAbort?.();
        return true;
      };
      const stop = (reason: unknown): void => {
        if (!tell()) return;
        reject(reason);
        this.cancel();
      };
      const timer =
        timeoutMs > longestTimerMs
          ? undefined
          : clock.setTimeout(
              () => stop(new PoolError('ERR_TIMEOUT', `The query did not end within ${Math.ceil(timeoutMs)} ms`)),
              timeoutMs,
            );
      const removeAbort = signal === undefined ? undefined : onAbort(signal, () => stop(signal.reason));
      this.#answered = false;
      this.#stopCurrent = stop;
      const query = quickQuery(command, (error, result) => {
        const failure = error && this.#failure(error);
        if (!tell()) return;
        if (failure) reject(failure);
        else resolve(result);
      });
      this.client.query(query);
    });
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
    this.#writeTogether();
    const query = quickQuery(command, (error, result) => {
      if (error) told(this.#failure(error), undefined);
      else told(undefined, result);
    });
    this.client.query(query);
  }

  /** Asks the server to stop what runs; until that is over, the connection is not quiet. */
  cancel(): void {
    this.#stopping ??= this.#stop().finally(() => {
      this.#stopping = undefined;
    });
  }

  /** Hands a cursor to the client as it is; until that is closed, the connection is not quiet. */
  submit<T extends pg.Submittable>(cursor: T): T {
    this.checkAlive();
    this.#answered = false;
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
    if (this.#pipeline === undefined) this.#stopCurrent?.(reason);
    else this.#pipeline.onStop(reason);
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

  async #end(): Promise<void> {
    if (this.broken !== undefined || !this.quiet) return this.destroy();
    const { clock } = this.#settings;
    const timer = clock.setTimeout(() => this.destroy(), goodbyeTimeoutMs);
    await this.client.end().catch(() => {});
    clock.clearTimeout(timer);
  }

  async #stop(): Promise<void> {
    const { clock, cancelTimeoutMs, config } = this.#settings;
    const giveUp = new AbortController();
    const timer = clock.setTimeout(
      () => giveUp.abort(new Error('The server did not confirm the cancel request')),
      cancelTimeoutMs,
    );
    try {
      while (!this.#answered && this.broken === undefined) {
        await requestCancel(this.client, config.stream, giveUp.signal);
        // A request that overtakes the query finds the backend idle and does nothing: it is sent again.
        await this.#untilAnswered(cancelAgainMs);
        giveUp.signal.throwIfAborted();
      }
    } catch {
      this.destroy();
    } finally {
      clock.clearTimeout(timer);
    }
  }

  #untilAnswered(atMostMs?: number): Promise<void> {
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

  #answer(): void {
    this.#answered = true;
    const wake = this.#wakeAnswered;
    this.#wakeAnswered = undefined;
    wake?.();
    this.#pipeline?.onAnswered();
  }

  #break(error: unknown): void {
    if (this.broken !== undefined) return;
    this.broken = error;
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

/** How long the answer to a cancel request may take before it is sent again. */
const cancelAgainMs = 200;
const goodbyeTimeoutMs = 1_000;
