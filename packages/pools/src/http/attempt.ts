import type { Connections } from './connections.ts';
import { Hop, type HopRequest, type HopResponse, isSafe, isStreamed } from './hop.ts';

/** A response and the hop whose body it is. */
export interface Sent {
  hop: Hop;
  response: HopResponse;
}

export interface AttemptContext {
  connections: Connections;
  maxBytes: number;
  onRetry: () => void;
}

/** A request on its way: once, or (see HedgedAttempt) several times at once. */
export interface Sending {
  run(): Promise<Sent>;
  /** Stops it wherever it is, the body of its response included. */
  abort(reason: unknown): void;
}

/** One request. One that met a kept connection just as the server closed it says nothing of the server: once more, on another. */
export class Attempt implements Sending {
  readonly #request: HopRequest;
  readonly #context: AttemptContext;
  /** On a connection that carries nothing else. */
  readonly #alone: boolean;
  #hop: Hop | undefined;
  #aborted = false;

  constructor(request: HopRequest, context: AttemptContext, alone = false) {
    this.#request = request;
    this.#context = context;
    this.#alone = alone;
  }

  async run(): Promise<Sent> {
    try {
      return await this.#send();
    } catch (error) {
      const { method, body } = this.#request;
      const lost = (error as { code?: unknown }).code === 'ERR_CONNECTION_LOST';
      const again = lost && this.#hop?.staleConnection === true && isSafe(method) && !isStreamed(body);
      if (!again || this.#aborted) throw error;
      this.#context.onRetry();
      return this.#send();
    }
  }

  abort(reason: unknown): void {
    this.#aborted = true;
    this.#hop?.abort(reason);
  }

  #send(): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const { connections, maxBytes } = this.#context;
      const answered = (response: HopResponse) => resolve({ hop, response });
      const hop = new Hop(this.#request, connections, maxBytes, answered, reject, this.#alone);
      this.#hop = hop;
      hop.enter();
    });
  }
}
