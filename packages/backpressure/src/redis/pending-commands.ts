import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../clock.ts';
import { LinkedList, type ListNode } from '../linked-list.ts';
import { timerMs } from '../timer-ms.ts';

interface PendingCommand {
  readonly since: number;
  readonly reject: (error: unknown) => void;
  expired: boolean;
}

/**
 * Commands that are on their way, and the time-out of each. One timer for all: it is armed for the oldest, and stays armed when that
 * one is answered, since a timer for each command is a good part of what a command costs.
 */
export class PendingCommands {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #expired: () => Error;
  readonly #pending = new LinkedList<PendingCommand>();
  // The timer outlives the call it was armed for.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #timer: unknown;

  /** `expired` makes the error for a command that was not answered within `timeoutMs`. */
  constructor(clock: Clock, timeoutMs: number, expired: () => Error) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#expired = expired;
  }

  /** Settles as the command does, or rejects when its time is over. `command` must not throw but reject. */
  run<T>(command: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const pending = this.#add(reject);
      command().then(
        (answer) => {
          this.#remove(pending);
          resolve(answer);
        },
        (error: unknown) => {
          this.#remove(pending);
          reject(error);
        },
      );
    });
  }

  /** No timer is left behind where nothing is on its way. */
  close(): void {
    if (this.#pending.size > 0) return;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #add(reject: (error: unknown) => void): ListNode<PendingCommand> {
    const node = this.#pending.push({ since: this.#clock.now(), reject, expired: false });
    if (this.#timer === undefined) this.#watchFor(this.#timeoutMs);
    else if (this.#pending.size === 1) asNodes(this.#timer).ref?.();
    return node;
  }

  #remove(node: ListNode<PendingCommand>): void {
    if (node.value.expired) return;
    this.#pending.remove(node);
    // A promise depends on the timer only while something is on its way.
    if (this.#pending.size === 0) asNodes(this.#timer).unref?.();
  }

  #watchFor(ms: number): void {
    this.#timer = this.#inOwnContext(() =>
      // After a busy event loop the answers may be there already, unread: sockets come after timers.
      this.#clock.setTimeout(() => setImmediate(() => this.#expire()), timerMs(ms)),
    );
  }

  #expire(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (let oldest = this.#pending.first; oldest !== undefined; oldest = this.#pending.first) {
      const leftMs = oldest.value.since + this.#timeoutMs - now;
      if (leftMs > 0) {
        this.#watchFor(leftMs);
        return;
      }
      this.#pending.remove(oldest);
      oldest.value.expired = true;
      oldest.value.reject(this.#expired());
    }
  }
}

/** A clock of one's own may give timers that are no objects. */
function asNodes(timer: unknown): { ref?: () => void; unref?: () => void } {
  return Object(timer);
}
