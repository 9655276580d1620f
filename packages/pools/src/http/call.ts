import { onAbort } from '../abort-listener.ts';
import { longestTimerMs } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import type { Connections } from './connections.ts';
import { Hop, type HopRequest, type HopResponse, isIdempotent, isStreamed } from './hop.ts';
import { redirected } from './redirect.ts';
import { HttpResponse } from './response.ts';
import type { Retry } from './retry.ts';

export interface CallContext {
  connections: Connections;
  clock: Clock;
  active: Set<Call>;
  maxRedirects: number;
  maxBytes: number;
  /** Decides on retries, where they are wanted. */
  retry: Retry | undefined;
  onRetry: () => void;
  onOver: (call: Call) => void;
}

interface Sent {
  hop: Hop;
  response: HopResponse;
}

/** One call of `request`: its hops, under one deadline and one signal, until the last body is over. */
export class Call {
  #request: HopRequest;
  readonly #context: CallContext;
  readonly #removeAbort: (() => void) | undefined;
  readonly #timer: unknown;
  /** When the time of the call is over, where somebody asks. */
  readonly #deadline: number;
  #hop: Hop | undefined;
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
      this.#hop?.abort(error);
      this.#end();
      throw error;
    }
  }

  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#hop?.abort(reason);
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
    if (retry === undefined) return this.#sendAgainIfStale();
    retry.earn(this.#request.url.origin);
    for (;;) {
      const outcome: Sent | { error: unknown } = await this.#sendAgainIfStale().catch((error: unknown) => ({ error }));
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

  /** A kept connection that the server closed as the request went out says nothing of the server: once more, on another. */
  async #sendAgainIfStale(): Promise<Sent> {
    try {
      return await this.#send();
    } catch (error) {
      const { method, body } = this.#request;
      const lost = (error as { code?: unknown }).code === 'ERR_CONNECTION_LOST';
      if (!lost || !this.#hop?.staleConnection || !isIdempotent(method) || isStreamed(body)) throw error;
      this.#context.onRetry();
      return this.#send();
    }
  }

  #send(): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const { connections, maxBytes } = this.#context;
      const hop = new Hop(this.#request, connections, maxBytes, (response) => resolve({ hop, response }), reject);
      this.#hop = hop;
      hop.enter();
    });
  }

  #end(): void {
    this.#context.clock.clearTimeout(this.#timer);
    this.#removeAbort?.();
    for (const hop of this.#draining) hop.abort(new PoolError('ERR_TIMEOUT', 'The call is over'));
    this.#context.onOver(this);
  }
}
