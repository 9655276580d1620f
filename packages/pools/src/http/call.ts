import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { Attempt, type AttemptContext, type Receiver, type Sending } from './attempt.ts';
import type { Hedge } from './hedge.ts';
import { HedgedAttempt, type HedgeEvents } from './hedged-attempt.ts';
import type { Hop, HopRequest, HopResponse } from './hop.ts';
import { redirected } from './redirect.ts';
import { HttpResponse } from './response.ts';
import type { Outcome, Retry } from './retry.ts';

/** What all calls of a pool have in common. */
export interface CallContext extends AttemptContext, HedgeEvents {
  readonly clock: Clock;
  readonly active: Set<Call>;
  readonly maxRedirects: number;
  /** Decides on retries, where they are wanted. */
  readonly retry: Retry | undefined;
  readonly onOver: (call: Call) => void;
}

/**
 * One call of `request`: its hops, under one deadline and one signal, until the last body is over. A request is sent; what it
 * comes to is the caller's, or is followed by another: a redirect's at once, a retry after a wait.
 */
export class Call implements Receiver {
  #request: HopRequest;
  readonly #context: CallContext;
  /** Decides on second requests beside the first one, where they are wanted. */
  readonly #hedge: Hedge | undefined;
  readonly #removeAbort: (() => void) | undefined;
  readonly #timer: unknown;
  #unreadTimer: unknown;
  /** When the time of the call is over, where somebody asks. */
  readonly #deadline: number;
  #resolve!: (response: HttpResponse) => void;
  #reject!: (error: unknown) => void;
  #sending: Sending | undefined;
  #redirects = 0;
  #retries = 0;
  #aborted: { reason: unknown } | undefined;
  #stopWaiting: ((reason: unknown) => void) | undefined;
  /** Responses that were not for the caller and whose bodies are still coming in, so that their connections can be used again. */
  #draining: Hop[] | undefined;

  constructor(
    request: HopRequest,
    signal: AbortSignal | undefined,
    timeoutMs: number,
    hedge: Hedge | undefined,
    context: CallContext,
  ) {
    this.#request = request;
    this.#hedge = hedge;
    this.#context = context;
    this.#deadline = context.retry === undefined ? Number.POSITIVE_INFINITY : context.clock.now() + timeoutMs;
    context.active.add(this);
    this.#removeAbort = signal === undefined ? undefined : onAbort(signal, () => this.abort(signal.reason));
    this.#timer =
      timeoutMs > longestTimerMs
        ? undefined
        : context.clock.setTimeout(() => {
            const { origin } = this.#request;
            this.abort(new PoolError('ERR_TIMEOUT', `${origin} did not answer within ${timeoutMs} ms`));
          }, timeoutMs);
  }

  run(): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#context.retry?.earn(this.#request.origin);
      this.#send();
    });
  }

  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#sending?.abort(reason);
    this.#stopWaiting?.(reason);
  }

  /** Ends it if it waits for its next attempt. */
  refuseWait(reason: unknown): void {
    this.#stopWaiting?.(reason);
  }

  answered(hop: Hop, response: HopResponse): void {
    if (this.#aborted !== undefined) {
      this.#fail(this.#aborted.reason);
      return;
    }
    try {
      const waitMs = this.#retryDelay({ response });
      if (waitMs === undefined) {
        const next = this.#next(response);
        if (next === undefined) this.#hand(hop, response);
        else this.#follow(next, hop, response);
        return;
      }
      this.#drain(hop, response);
      this.#sendAfter(waitMs);
    } catch (error) {
      this.#fail(error);
    }
  }

  failed(error: unknown): void {
    const waitMs = this.#aborted === undefined ? this.#retryDelay({ error }) : undefined;
    if (waitMs !== undefined) this.#sendAfter(waitMs);
    else this.#fail(this.#aborted === undefined ? error : this.#aborted.reason);
  }

  #send(): void {
    const delayMs = this.#hedge?.delay(this.#request);
    this.#sending =
      this.#hedge === undefined || delayMs === undefined
        ? new Attempt(this.#request, this.#context, this)
        : new HedgedAttempt(this.#request, this.#context, this, this.#hedge, delayMs);
    this.#sending.start();
  }

  #sendUnlessAborted(): void {
    if (this.#aborted === undefined) this.#send();
    else this.#fail(this.#aborted.reason);
  }

  #hand(hop: Hop, response: HopResponse): void {
    // Without a time-out a response that was dropped would hold its connection for ever.
    if (this.#timer === undefined) {
      this.#unreadTimer = this.#context.clock.setTimeout(() => {
        if (!response.body.used) this.abort(new PoolError('ERR_TIMEOUT', 'Nobody has read the body of the response'));
      }, unreadMs);
    }
    hop.whenOver(() => this.#end());
    this.#resolve(new HttpResponse(response, this.#request.url));
  }

  #follow(next: HopRequest, hop: Hop, response: HopResponse): void {
    this.#redirects++;
    this.#drain(hop, response);
    this.#request = next;
    this.#context.retry?.earn(next.origin);
    // A short body comes with its headers; one turn later its end is known, and one more, its connection is free for this.
    queueMicrotask(() => queueMicrotask(() => this.#sendUnlessAborted()));
  }

  #fail(error: unknown): void {
    this.#sending?.abort(error);
    this.#end();
    this.#reject(error);
  }

  #next(response: HopResponse): HopRequest | undefined {
    const { maxRedirects } = this.#context;
    if (maxRedirects === 0) return undefined;
    const next = redirected(this.#request, response);
    if (next === undefined || this.#redirects < maxRedirects) return next;
    const { origin } = this.#request;
    throw new PoolError('ERR_TOO_MANY_REDIRECTS', `${origin} redirected more than ${maxRedirects} times`, {
      status: response.status,
    });
  }

  #retryDelay(outcome: Outcome): number | undefined {
    return this.#context.retry?.delay(this.#request, outcome, this.#retries, this.#deadline);
  }

  #sendAfter(ms: number): void {
    const { clock, onRetry } = this.#context;
    const timer = clock.setTimeout(() => {
      // Late: the end of the call is due as well, and an attempt would be sent for nothing.
      if (clock.now() >= this.#deadline) return;
      this.#stopWaiting = undefined;
      this.#retries++;
      onRetry();
      this.#send();
    }, ms);
    this.#stopWaiting = (reason) => {
      this.#stopWaiting = undefined;
      clock.clearTimeout(timer);
      this.#fail(reason);
    };
  }

  #drain(hop: Hop, response: HopResponse): void {
    response.body.drain();
    this.#draining ??= [];
    this.#draining.push(hop);
  }

  #end(): void {
    const { clock } = this.#context;
    clock.clearTimeout(this.#timer);
    clock.clearTimeout(this.#unreadTimer);
    this.#removeAbort?.();
    if (this.#draining !== undefined) {
      for (const hop of this.#draining) hop.abort(new PoolError('ERR_TIMEOUT', 'The call is over'));
    }
    this.#context.onOver(this);
  }
}

/** How long a body may wait for somebody to read it when the call has no time-out. */
const unreadMs = 30_000;
