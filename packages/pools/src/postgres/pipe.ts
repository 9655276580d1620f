import type pg from 'pg';
import type { PgConnection } from './pg-connection.ts';

/** What whoever sends several statements at once over a connection is told of. */
export interface PipelineEvents {
  /** Everything that was sent has been answered. */
  onAnswered(): void;
  /** What is under way is to be stopped. */
  onStop(reason: unknown): void;
}

/** A read of the shared lane, from the call until its caller has been told. */
export class SharedStatement {
  readonly command: pg.QueryConfig;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (result: pg.QueryResult) => void;
  readonly reject: (error: unknown) => void;
  /** When its caller is told that it took too long; without a time of its own, counted from when it is sent. */
  deadline: number | undefined;
  timer: unknown;
  removeAbort: (() => void) | undefined;
  waitsSince: number;
  sentAt = 0;
  /** Where it was sent last. */
  pipe: Pipe | undefined;
  moves = 0;
  settled = false;

  constructor(
    command: pg.QueryConfig,
    signal: AbortSignal | undefined,
    now: number,
    resolve: (result: pg.QueryResult) => void,
    reject: (error: unknown) => void,
  ) {
    this.command = command;
    this.signal = signal;
    this.waitsSince = now;
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** A connection of the shared lane with what was sent over it and not yet answered. The server works in that order. */
export class Pipe {
  readonly connection: PgConnection;
  /** When the lane got the connection. */
  readonly since: number;
  readonly sent: SharedStatement[] = [];
  /** Whether it takes more. */
  open = true;
  /** Whether its first statement was found to run for long. */
  stalled = false;
  /** Whether a statement has been told that the connection is lost. */
  lost = false;
  #first: SharedStatement | undefined;
  #looks = 0;

  constructor(connection: PgConnection, since: number) {
    this.connection = connection;
    this.since = since;
  }

  /** What was sent over it, and not sent again elsewhere since. */
  get current(): SharedStatement[] {
    return this.sent.filter((statement) => statement.pipe === this);
  }

  /** Takes a statement out. */
  answered(statement: SharedStatement): void {
    // One that could not even be sent is told of out of turn.
    const index = this.sent.indexOf(statement);
    if (index === 0) this.sent.shift();
    else if (index > 0) this.sent.splice(index, 1);
  }

  /** How many looks before this one found the same statement running. */
  look(): number {
    const [first] = this.sent;
    this.#looks = first !== undefined && first === this.#first ? this.#looks + 1 : 0;
    this.#first = first;
    return this.#looks;
  }
}
