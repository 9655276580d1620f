import type { RunContext } from './run-context.ts';
import type { Lane } from './waiting-room.ts';

/** One who waits for a permit, in its caller's lane. */
export class Waiter {
  /**
   * V8 forgets the shape of objects of which a full collection finds none, and throws away the compiled code that knew it: the
   * next burst would begin in the interpreter, three times slower. So there is always one.
   */
  static readonly kept: Waiter = new Waiter(
    () => {},
    () => {},
    0.5,
    undefined,
    undefined,
  );

  /** Called with the waiter itself when it is its turn. */
  readonly grant: (granted: Waiter) => void;
  readonly refuse: (error: unknown) => void;
  readonly arrivedAt: number;
  /** The time until which it must have ended; undefined if it has all the time in the world. */
  readonly deadlineAt: number | undefined;
  /** The work to begin when it is its turn; undefined where the one who waits sees to that itself. */
  readonly work: ((context: RunContext) => unknown) | undefined;
  /** When it was granted its permit. */
  startedAt: number;
  /** Takes off what was hung on the wait: the listener on its signal, the timer of its deadline. */
  detach: (() => void) | undefined;
  lane: Lane | undefined;
  older: Waiter | undefined;
  newer: Waiter | undefined;
  /** A promise that resolves with an object looks for this; not to find it takes a tenth of what a queued call costs. */
  // biome-ignore lint/suspicious/noThenProperty: there to say that it is no thenable
  readonly then = undefined;

  constructor(
    grant: (granted: Waiter) => void,
    refuse: (error: unknown) => void,
    arrivedAt: number,
    deadlineAt: number | undefined,
    work: ((context: RunContext) => unknown) | undefined,
  ) {
    this.grant = grant;
    this.refuse = refuse;
    this.arrivedAt = arrivedAt;
    this.deadlineAt = deadlineAt;
    this.work = work;
    this.startedAt = arrivedAt;
    this.detach = undefined;
    this.lane = undefined;
    this.older = undefined;
    this.newer = undefined;
  }
}
