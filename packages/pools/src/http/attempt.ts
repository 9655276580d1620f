import {
  Hop,
  type HopContext,
  type HopReceiver,
  type HopRequest,
  type HopResponse,
  isSafe,
  isStreamed,
} from './hop.ts';

export interface AttemptContext extends HopContext {
  readonly onRetry: () => void;
}

/** Told what a request came to, once: callbacks, since promises at each step cost more than the step itself. */
export interface Receiver {
  /** `hop` is where the body of the response comes from. */
  answered(hop: Hop, response: HopResponse, attempt: Sending): void;
  failed(error: unknown): void;
}

/** A request on its way: once, or (see HedgedAttempt) several times at once. */
export interface Sending {
  start(): void;
  /** Stops it wherever it is, the body of its response included. */
  abort(reason: unknown): void;
}

/** One request. One that met a kept connection just as the server closed it says nothing of the server: once more, on another. */
export class Attempt implements Sending, HopReceiver {
  readonly #request: HopRequest;
  readonly #context: AttemptContext;
  readonly #receiver: Receiver;
  /** On a connection that carries nothing else. */
  readonly #alone: boolean;
  #hop: Hop | undefined;
  #aborted = false;
  #repeated = false;

  constructor(request: HopRequest, context: AttemptContext, receiver: Receiver, alone = false) {
    this.#request = request;
    this.#context = context;
    this.#receiver = receiver;
    this.#alone = alone;
  }

  start(): void {
    const hop = new Hop(this.#request, this.#context, this, this.#alone);
    this.#hop = hop;
    hop.enter();
  }

  abort(reason: unknown): void {
    this.#aborted = true;
    this.#hop?.abort(reason);
  }

  answered(hop: Hop, response: HopResponse): void {
    this.#receiver.answered(hop, response, this);
  }

  failed(hop: Hop, error: unknown): void {
    if (!hop.staleConnection || !this.#mayRepeat(error)) {
      this.#receiver.failed(error);
      return;
    }
    this.#repeated = true;
    // Not before undici is through with the connection that was lost.
    queueMicrotask(() => {
      if (this.#aborted) {
        this.#receiver.failed(error);
        return;
      }
      this.#context.onRetry();
      this.start();
    });
  }

  #mayRepeat(error: unknown): boolean {
    const { method, body } = this.#request;
    const lost = (error as { code?: unknown }).code === 'ERR_CONNECTION_LOST';
    return lost && !this.#aborted && !this.#repeated && isSafe(method) && !isStreamed(body);
  }
}
