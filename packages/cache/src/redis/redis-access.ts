import type { Clock } from '../clock.ts';
import { type MissedWrite, MissedWrites } from './missed-writes.ts';
import { RedisCircuit, RedisUnavailableError } from './redis-circuit.ts';
import type { RedisClient } from './redis-client.ts';

export interface RedisAccessOptions {
  client: RedisClient;
  commandTimeoutMs: number;
  retryAfterMs: number;
  clock: Clock;
  /** Resolves when Redis answers. */
  ping: () => Promise<unknown>;
  /** Deletes what a write that Redis missed should have changed, and tells of it. */
  makeUp: (missed: MissedWrite) => Promise<unknown>;
}

/** Whether Redis may be asked now, and what it is owed from when it could not be. */
export class RedisAccess {
  readonly circuit: RedisCircuit;
  readonly #options: RedisAccessOptions;
  readonly #missed = new MissedWrites();
  #wasReady = false;
  #closed = false;

  constructor(options: RedisAccessOptions) {
    this.#options = options;
    const { commandTimeoutMs, retryAfterMs, clock } = options;
    this.circuit = new RedisCircuit({ commandTimeoutMs, retryAfterMs, clock, recover: () => this.#recover() });
  }

  get available(): boolean {
    if (this.#missed.size > 0) this.circuit.trip();
    return !this.#closed && this.circuit.closed && this.#connected;
  }

  /** How many writes Redis has not taken. */
  get owed(): number {
    return this.#missed.size;
  }

  /** A write that must not be forgotten: what Redis may not have heard of is deleted there before it is read again. */
  async write<T>(missed: readonly MissedWrite[], run: () => Promise<T>, otherwise: T): Promise<T> {
    if (this.#closed) return otherwise;
    let written = false;
    try {
      if (!this.available) return otherwise;
      const answer = await run();
      written = true;
      return answer;
    } finally {
      if (!written) {
        for (const write of missed) this.#missed.add(write);
        this.circuit.trip();
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.circuit.stop();
  }

  get #connected(): boolean {
    const { status } = this.#options.client;
    if (status === 'ready') this.#wasReady = true;
    // A client that has lost its connection would keep commands for later; one that makes its first may.
    return status === 'ready' || status === 'wait' || (!this.#wasReady && status.startsWith('connect'));
  }

  async #recover(): Promise<void> {
    if (!this.#connected) throw new RedisUnavailableError('@x/cache: Redis is not connected');
    await this.#options.ping();
    await this.#missed.replay(this.#options.makeUp);
  }
}
