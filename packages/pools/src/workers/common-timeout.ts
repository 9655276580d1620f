import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../clock.ts';
import type { Job } from './job.ts';

/**
 * The time-out that all tasks of a pool have unless they ask for another: one timer, armed for the first that may be due
 * and left armed when that one ends. A timer for each task costs a fiftieth of a round trip.
 */
export class CommonTimeout {
  readonly #clock: Clock;
  readonly #ms: number;
  /** Tasks that are under way, each kind in the order in which they came. */
  readonly #jobs: readonly ReadonlySet<Job>[];
  readonly #onDue: (job: Job) => void;
  // The timer outlives the task it was armed for.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #timer: unknown;

  constructor(clock: Clock, ms: number, jobs: readonly ReadonlySet<Job>[], onDue: (job: Job) => void) {
    this.#clock = clock;
    this.#ms = ms;
    this.#jobs = jobs;
    this.#onDue = onDue;
  }

  /** From now on the job has so long. */
  start(job: Job): void {
    job.deadline = this.#clock.now() + this.#ms;
    if (this.#timer === undefined) this.#arm(this.#ms);
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    this.#timer = this.#inOwnContext(() => this.#clock.setTimeout(() => this.#look(), ms));
    // A task that is under way keeps the process by its thread.
    (this.#timer as { unref?(): void } | undefined)?.unref?.();
  }

  #look(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const due: Job[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const jobs of this.#jobs) {
      for (const job of jobs) {
        // Timers count whole milliseconds, and may fire by a part of one too early.
        if (job.deadline < now + 1) due.push(job);
        else if (job.deadline < Number.POSITIVE_INFINITY) {
          next = Math.min(next, job.deadline);
          break;
        }
      }
    }
    if (next < Number.POSITIVE_INFINITY) this.#arm(next - now);
    for (const job of due) this.#onDue(job);
  }
}
