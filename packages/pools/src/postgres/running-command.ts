import type pg from 'pg';
import { onAbort } from '../abort-listener.ts';

/** A command that was sent over a connection, until its caller has been told. */
export class RunningCommand {
  readonly timeoutMs: number;
  readonly #resolve: (result: pg.QueryResult) => void;
  readonly #reject: (reason: unknown) => void;
  #removeAbort: (() => void) | undefined;
  #told = false;

  constructor(timeoutMs: number, resolve: (result: pg.QueryResult) => void, reject: (reason: unknown) => void) {
    this.timeoutMs = timeoutMs;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Calls `stop` when its caller leaves. */
  watch(signal: AbortSignal, stop: (reason: unknown) => void): void {
    this.#removeAbort = onAbort(signal, () => stop(signal.reason));
  }

  succeed(result: pg.QueryResult): void {
    if (this.#tell()) this.#resolve(result);
  }

  /** `false`: its caller knows its outcome already. */
  fail(reason: unknown): boolean {
    const first = this.#tell();
    if (first) this.#reject(reason);
    return first;
  }

  #tell(): boolean {
    if (this.#told) return false;
    this.#told = true;
    this.#removeAbort?.();
    return true;
  }
}
