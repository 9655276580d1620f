import type { Lending } from './lending.ts';
import type { PgConnection } from './pg-connection.ts';
import { Pipe } from './pipe.ts';
import type { PoolSettings } from './pool-options.ts';

/** The shared lane, as far as its connections must know it. */
export interface LaneDemand {
  /** One that was waited for has come. */
  offer(pipe: Pipe): void;
  /** There is none, and none can be made. */
  refuse(error: unknown): void;
  /** What was sent over one is to be stopped. */
  stop(pipe: Pipe, reason: unknown): void;
}

/** The connections of the shared lane: lent by the pool as to anybody, and given back when nothing is under way on them. */
export class LanePipes {
  readonly #lending: Lending;
  readonly #settings: PoolSettings;
  readonly #demand: LaneDemand;
  /** Those that take new statements first. */
  readonly #pipes = new Set<Pipe>();
  #acquiring = false;

  constructor(lending: Lending, settings: PoolSettings, demand: LaneDemand) {
    this.#lending = lending;
    this.#settings = settings;
    this.#demand = demand;
  }

  get size(): number {
    return this.#pipes.size;
  }
  /** Places in the pool's own line: it is waited in once for all. */
  get places(): number {
    return this.#acquiring && this.#lending.line.length > 0 ? 1 : 0;
  }
  [Symbol.iterator](): IterableIterator<Pipe> {
    return [...this.#pipes].values();
  }

  /** The first connection that is not behind, else one more, else the one with the least to do. */
  pick(now: number): Pipe | undefined {
    let behind: Pipe | undefined;
    for (const pipe of this.#pipes) {
      if (!pipe.open) continue;
      if (this.#isDue(pipe, now)) {
        pipe.open = false;
        continue;
      }
      const oldest = pipe.sent[0];
      if (oldest === undefined || now - oldest.sentAt < behindMs) return pipe;
      if (behind === undefined || pipe.sent.length < behind.sent.length) behind = pipe;
    }
    const idle = this.#lending.takeIdle();
    if (idle !== undefined) {
      // It is given back when there is nothing to read, which may be never.
      this.#lending.leaks.returned(idle);
      return this.#open(idle);
    }
    if (behind !== undefined && this.#lending.stock.hasRoom) this.acquire();
    return behind;
  }

  /** Waits for one more, which is then offered. */
  acquire(): void {
    if (this.#acquiring) return;
    this.#acquiring = true;
    this.#lending.acquireForMany().then(
      (connection) => {
        this.#acquiring = false;
        this.#demand.offer(this.#open(connection));
      },
      (error: unknown) => {
        this.#acquiring = false;
        this.#demand.refuse(error);
      },
    );
  }

  leaveIfDone(pipe: Pipe): void {
    const { connection } = pipe;
    if (pipe.sent.length > 0 || !(connection.answered || connection.broken !== undefined)) return;
    if (!this.#pipes.delete(pipe)) return;
    connection.endPipeline();
    this.#lending.release(connection, this.#settings.reset === 'always');
  }

  #open(connection: PgConnection): Pipe {
    const pipe = new Pipe(connection, this.#settings.clock.now());
    this.#pipes.add(pipe);
    connection.beginPipeline({
      onAnswered: () => this.leaveIfDone(pipe),
      onStop: (reason) => {
        pipe.open = false;
        this.#demand.stop(pipe, reason);
        connection.cancel();
      },
    });
    return pipe;
  }

  /** Whether a connection has to go back to the pool: it is old, or others have waited for one for a while. */
  #isDue(pipe: Pipe, now: number): boolean {
    const { connection, since } = pipe;
    if (connection.broken !== undefined || connection.record.isSpent(now)) return true;
    return this.#lending.line.length > this.places && now - since > holdMs;
  }
}

/** A connection whose oldest statement was sent so long ago is behind: another one may take the next. Milliseconds. */
const behindMs = 5;
/** How long a connection is kept while others wait for one. Milliseconds. */
const holdMs = 50;
