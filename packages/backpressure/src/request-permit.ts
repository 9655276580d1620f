import type { Clock } from './clock.ts';
import { TimeoutError } from './errors.ts';
import type { LateShare } from './late-share.ts';
import { timerMs } from './timer-ms.ts';

/** What a limiter's `Permit` has of use here. */
export interface AdmissionPermit {
  /** The work was done, and took as long as it took. */
  release(): void;
  /** In place of `release` where the client has gone and its work was cut short: how long that took says nothing about what the server can bear. */
  ignore?(): void;
  /** In place of either where the client's deadline was over by then, as for many others of late: the server has too much in work. */
  failure?(): void;
  /** The client has gone and its work goes on. Called before one of the others, if at all. */
  abandon?(): void;
}

export interface RequestPermitOptions {
  permit: AdmissionPermit;
  clock: Clock;
  /** When the client's patience ends, by the clock; undefined if nothing is known of it. */
  deadlineAt: number | undefined;
  /** Who asks; undefined if nobody's patience is known. */
  caller: string | undefined;
  lateShare: LateShare;
  /** How long it may be held after the client has gone. */
  abandonedTimeoutMs: number;
  /** Told where one of the permit's methods throws, and where it had to be taken back from work that did not end. */
  report: (error: unknown) => void;
}

/**
 * A request's permit. It is given back when the response is closed and the handler's promise has settled, whichever comes last: a
 * client that hangs up does not end the work that was begun for it, and to let other work in beside it would be more than the limit.
 */
export class RequestPermit {
  readonly #options: RequestPermitOptions;
  #given = false;
  #working = false;
  #response: 'open' | 'answered' | 'left' = 'open';
  #congested = false;
  #timer: unknown;

  constructor(options: RequestPermitOptions) {
    this.#options = options;
  }

  /** The client had gone before anything was begun. */
  unused(): void {
    this.#response = 'left';
    this.#giveBack(false);
  }

  /** The handler has returned a promise: the work goes on until it settles. */
  workGoesOn(): void {
    this.#working = true;
  }

  /** That promise has settled. `whole`: the work ran to its end, nothing has cut it short. */
  workEnded(whole: boolean): void {
    this.#working = false;
    if (this.#response !== 'open') this.#giveBack(whole);
  }

  /** The response is closed: after its end, or because the client has gone. */
  responseClosed(answered: boolean): void {
    const { clock, deadlineAt, caller, lateShare, abandonedTimeoutMs } = this.#options;
    this.#response = answered ? 'answered' : 'left';
    if (!answered && this.#working) this.#tell('abandon');
    if (deadlineAt === undefined) lateShare.recordPatient(caller);
    else {
      const late = clock.now() >= deadlineAt;
      // One that left before says nothing of the others.
      if (late || answered) this.#congested = lateShare.record(late, caller);
    }
    if (!this.#working) {
      this.#giveBack(false);
    } else if (abandonedTimeoutMs !== Number.POSITIVE_INFINITY) {
      this.#timer = clock.setTimeout(() => this.#takeBack(), timerMs(abandonedTimeoutMs));
      (this.#timer as { unref?: () => void } | undefined)?.unref?.();
    }
  }

  #takeBack(): void {
    if (this.#given) return;
    const { report, abandonedTimeoutMs } = this.#options;
    report(new TimeoutError(abandonedTimeoutMs, 'the handler of a request whose response is closed'));
    this.#response = 'left';
    this.#giveBack(false);
  }

  #giveBack(whole: boolean): void {
    if (this.#given) return;
    this.#given = true;
    const { permit, clock } = this.#options;
    if (this.#timer !== undefined) clock.clearTimeout(this.#timer);
    const timed = whole || this.#response === 'answered';
    const as = this.#congested ? 'failure' : timed ? 'release' : 'ignore';
    this.#tell(permit[as] === undefined ? 'release' : as);
  }

  #tell(what: keyof AdmissionPermit): void {
    const { permit, report } = this.#options;
    try {
      permit[what]?.();
    } catch (error) {
      report(error);
    }
  }
}
