import { PoolError } from '../errors.ts';
import { Attempt, type AttemptContext, type Receiver, type Sending } from './attempt.ts';
import type { Hedge } from './hedge.ts';
import type { Hop, HopRequest, HopResponse } from './hop.ts';

export interface HedgeEvents {
  readonly onHedge: () => void;
  /** It was not the first request that was answered first. */
  readonly onHedgeWon: () => void;
}

interface Answer {
  readonly hop: Hop;
  readonly response: HopResponse;
  readonly attempt: Sending;
}

/** A request that is sent once more when it is not answered in time; the first good answer is the one that counts. */
export class HedgedAttempt implements Sending, Receiver {
  readonly #request: HopRequest;
  readonly #context: AttemptContext & HedgeEvents;
  readonly #receiver: Receiver;
  readonly #hedge: Hedge;
  readonly #delayMs: number;
  readonly #attempts: Sending[] = [];
  #running = 0;
  #timer: unknown;
  #start = 0;
  #over = false;
  /** An answer that says that the server is unwell; it counts when no better one comes. */
  #bad: Answer | undefined;

  constructor(
    request: HopRequest,
    context: AttemptContext & HedgeEvents,
    receiver: Receiver,
    hedge: Hedge,
    delayMs: number,
  ) {
    this.#request = request;
    this.#context = context;
    this.#receiver = receiver;
    this.#hedge = hedge;
    this.#delayMs = delayMs;
  }

  start(): void {
    this.#start = this.#hedge.clock.now();
    this.#send();
  }

  abort(reason: unknown): void {
    const wasOver = this.#over;
    this.#over = true;
    this.#stopTimer();
    for (const attempt of this.#attempts) attempt.abort(reason);
    if (!wasOver) this.#receiver.failed(reason);
  }

  answered(hop: Hop, response: HopResponse, attempt: Sending): void {
    this.#running--;
    if (this.#over) {
      attempt.abort(beaten());
      return;
    }
    const answer: Answer = { hop, response, attempt };
    const { status } = response;
    if ((status >= 500 || status === 429) && this.#running > 0 && this.#bad === undefined) this.#bad = answer;
    else this.#win(answer);
  }

  failed(error: unknown): void {
    this.#running--;
    if (this.#over || this.#running > 0) return;
    if (this.#bad !== undefined) {
      this.#win(this.#bad);
      return;
    }
    this.#over = true;
    this.#stopTimer();
    this.#receiver.failed(error);
  }

  #send(): void {
    // Beside the first one, never behind it on the connection that may be what is slow.
    const attempt = new Attempt(this.#request, this.#context, this, this.#attempts.length > 0);
    this.#attempts.push(attempt);
    this.#running++;
    if (this.#attempts.length <= this.#hedge.maxHedges && Number.isFinite(this.#delayMs)) {
      this.#timer = this.#hedge.clock.setTimeout(() => this.#again(), this.#delayMs);
    }
    attempt.start();
  }

  #again(): void {
    this.#timer = undefined;
    // Where requests wait for connections, one more only makes all of them slower.
    if (this.#context.connections.queued > 0 || !this.#hedge.spend(this.#request)) return;
    this.#context.onHedge();
    this.#send();
  }

  #win({ hop, response, attempt }: Answer): void {
    this.#over = true;
    this.#stopTimer();
    this.#hedge.answered(this.#request, this.#hedge.clock.now() - this.#start);
    if (attempt !== this.#attempts[0]) this.#context.onHedgeWon();
    for (const other of this.#attempts) if (other !== attempt) other.abort(beaten());
    this.#receiver.answered(hop, response, this);
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
