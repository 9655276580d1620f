import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { Attempt, type AttemptContext, type Sending, type Sent } from './attempt.ts';
import type { Hedge } from './hedge.ts';
import { HedgedAttempt, type HedgeEvents } from './hedged-attempt.ts';
import type { Hop, HopRequest, HopResponse } from './hop.ts';
import { redirected } from './redirect.ts';
import { HttpResponse } from './response.ts';
import type { Retry } from './retry.ts';

export interface CallContext extends AttemptContext, HedgeEvents {
  clock: Clock;
  active: Set<Call>;
  maxRedirects: number;
  /** Decides on retries, where they are wanted. */
  retry: Retry | undefined;
  /** Decides on second requests beside the first one, where they are wanted. */
  hedge: Hedge | undefined;
  onOver: (call: Call) => void;
}

/** One call of `request`: its hops, under one deadline and one signal, until the last body is over. */
export class Call {
  #request: HopRequest;
  readonly #context: CallContext;
  readonly #removeAbort: (() => void) | undefined;
  readonly #timer: unknown;
  /** When the time of the call is over, where somebody asks. */
  readonly #deadline: number;
  #sending: Sending | undefined;
  #retries = 0;
  #aborted: { reason: unknown } | undefined;
  #stopWaiting: ((reason: unknown) => void) | undefined;
  /** Responses that were not for the caller and whose bodies are still coming in, so that their connections can be used again. */
  readonly #draining: Hop[] = [];

  constructor(request: HopRequest, signal: AbortSignal | undefined, timeoutMs: number, context: CallContext) {
    this.#request = request;
    this.#context = context;
    this.#deadline = context.retry === undefined ? Number.POSITIVE_INFINITY : context.clock.now() + timeoutMs;
    context.active.add(this);
    this.#removeAbort = signal === undefined ? undefined : onAbort(signal, () => this.abort(signal.reason));
    this.#timer =
      timeoutMs > longestTimerMs
        ? undefined
        : context.clock.setTimeout(() => {
            const { origin } = this.#request.url;
            this.abort(new PoolError('ERR_TIMEOUT', `${origin} did not answer within ${timeoutMs} ms`));
          }, timeoutMs);
  }

  async run(): Promise<HttpResponse> {
    try {
      for (let redirects = 0; ; redirects++) {
        const { hop, response } = await this.#sendUntilDone();
        const next = this.#next(response, redirects);
        if (next === undefined) {
          hop.whenOver(() => this.#end());
          return new HttpResponse(response.status, response.headers, this.#request.url.href, response.body);
        }
        this.#drain(hop, response);
        this.#request = next;
      }
    } catch (error) {
      this.#sending?.abort(error);
      this.#end();
      throw error;
    }
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

  #next(response: HopResponse, redirects: number): HopRequest | undefined {
    const { maxRedirects } = this.#context;
    if (maxRedirects === 0) return undefined;
    const next = redirected(this.#request, response);
    if (next === undefined || redirects < maxRedirects) return next;
    const { origin } = this.#request.url;
    throw new PoolError('ERR_TOO_MANY_REDIRECTS', `${origin} redirected more than ${maxRedirects} times`, {
      status: response.status,
    });
  }

  /** The request, repeated as often as the policy for retries has it. */
  async #sendUntilDone(): Promise<Sent> {
    const { retry, clock, onRetry } = this.#context;
    if (retry === undefined) return this.#send();
    retry.earn(this.#request.url.origin);
    for (;;) {
      const outcome: Sent | { error: unknown } = await this.#send().catch((error: unknown) => ({ error }));
      if (this.#aborted !== undefined) throw this.#aborted.reason;
      const waitMs = retry.delay(this.#request, outcome, this.#retries, this.#deadline - clock.now());
      if (waitMs === undefined) {
        if ('error' in outcome) throw outcome.error;
        return outcome;
      }
      if ('hop' in outcome) this.#drain(outcome.hop, outcome.response);
      await this.#wait(waitMs);
      this.#retries++;
      onRetry();
    }
  }

  #wait(ms: number): Promise<void> {
    const { clock } = this.#context;
    return new Promise((resolve, reject) => {
      const timer = clock.setTimeout(() => {
        this.#stopWaiting = undefined;
        resolve();
      }, ms);
      this.#stopWaiting = (reason) => {
        this.#stopWaiting = undefined;
        clock.clearTimeout(timer);
        reject(reason);
      };
    });
  }

  #drain(hop: Hop, response: HopResponse): void {
    response.body.drain();
    this.#draining.push(hop);
  }

  #send(): Promise<Sent> {
    const { hedge } = this.#context;
    const delayMs = hedge?.delay(this.#request);
    this.#sending =
      hedge === undefined || delayMs === undefined
        ? new Attempt(this.#request, this.#context)
        : new HedgedAttempt(this.#request, this.#context, hedge, delayMs);
    return this.#sending.run();
  }

  #end(): void {
    this.#context.clock.clearTimeout(this.#timer);
    this.#removeAbort?.();
    for (const hop of this.#draining) hop.abort(new PoolError('ERR_TIMEOUT', 'The call is over'));
    this.#context.onOver(this);
  }
}
