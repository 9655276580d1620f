import { PoolError } from '../errors.ts';
import { Attempt, type AttemptContext, type Sending, type Sent } from './attempt.ts';
import type { Hedge } from './hedge.ts';
import type { HopRequest } from './hop.ts';

export interface HedgeEvents {
  onHedge: () => void;
  /** It was not the first request that was answered first. */
  onHedgeWon: () => void;
}

/** A request that is sent once more when it is not answered in time; the first good answer is the one that counts. */
export class HedgedAttempt implements Sending {
  readonly #request: HopRequest;
  readonly #context: AttemptContext & HedgeEvents;
  readonly #hedge: Hedge;
  readonly #delayMs: number;
  readonly #attempts: Attempt[] = [];
  #running = 0;
  #timer: unknown;
  #start = 0;
  #resolve!: (sent: Sent) => void;
  #reject!: (error: unknown) => void;
  #over = false;
  /** An answer that says that the server is unwell; it counts when no better one comes. */
  #bad: { sent: Sent; attempt: Attempt } | undefined;

  constructor(request: HopRequest, context: AttemptContext & HedgeEvents, hedge: Hedge, delayMs: number) {
    this.#request = request;
    this.#context = context;
    this.#hedge = hedge;
    this.#delayMs = delayMs;
  }

  run(): Promise<Sent> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#start = this.#hedge.clock.now();
      this.#send();
    });
  }

  abort(reason: unknown): void {
    this.#stopTimer();
    for (const attempt of this.#attempts) attempt.abort(reason);
  }

  #send(): void {
    // Beside the first one, never behind it on the connection that may be what is slow.
    const attempt = new Attempt(this.#request, this.#context, this.#attempts.length > 0);
    this.#attempts.push(attempt);
    this.#running++;
    attempt.run().then(
      (sent) => this.#answered(attempt, sent),
      (error: unknown) => this.#failed(error),
    );
    if (this.#attempts.length <= this.#hedge.maxHedges && Number.isFinite(this.#delayMs)) {
      this.#timer = this.#hedge.clock.setTimeout(() => this.#again(), this.#delayMs);
    }
  }

  #again(): void {
    this.#timer = undefined;
    // Where requests wait for connections, one more only makes all of them slower.
    if (this.#context.connections.queued > 0 || !this.#hedge.spend(this.#request)) return;
    this.#context.onHedge();
    this.#send();
  }

  #answered(attempt: Attempt, sent: Sent): void {
    this.#running--;
    if (this.#over) {
      attempt.abort(beaten());
      return;
    }
    const { status } = sent.response;
    if ((status >= 500 || status === 429) && this.#running > 0 && this.#bad === undefined) {
      this.#bad = { sent, attempt };
      return;
    }
    this.#win(attempt, sent);
  }

  #failed(error: unknown): void {
    this.#running--;
    if (this.#over || this.#running > 0) return;
    if (this.#bad !== undefined) {
      this.#win(this.#bad.attempt, this.#bad.sent);
      return;
    }
    this.#over = true;
    this.#stopTimer();
    this.#reject(error);
  }

  #win(winner: Attempt, sent: Sent): void {
    this.#over = true;
    this.#stopTimer();
    this.#hedge.answered(this.#request, this.#hedge.clock.now() - this.#start);
    if (winner !== this.#attempts[0]) this.#context.onHedgeWon();
    for (const attempt of this.#attempts) if (attempt !== winner) attempt.abort(beaten());
    this.#resolve(sent);
  }

  #stopTimer(): void {
    if (this.#timer === undefined) return;
    this.#hedge.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Nobody sees it: it ends what nobody waits for any more. */
function beaten(): PoolError {
  return new PoolError('ERR_BODY_USED', 'Another request for the same was answered first');
}
