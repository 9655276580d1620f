import type { Dispatcher } from 'undici';
import type { Clock } from './clock.ts';
import { isObject, type Reply } from './outcome.ts';
import { EventStreamParser } from './sse.ts';

export interface ExchangeRequest {
  path: string;
  method: 'POST' | 'DELETE';
  headers: Record<string, string>;
  body: string | null;
  /** The id whose message ends the exchange; undefined for a notification. */
  id: number | undefined;
  timeoutMs: number;
  clock: Clock;
}

export interface ExchangeReply extends Reply {
  /** When the message was there, which in an event stream is before its end. */
  at: number;
  headers: { readonly [name: string]: string | string[] | undefined };
}

/** Why an exchange that we ended ourselves was ended. */
export class Ended extends Error {
  readonly reason: 'timeout' | 'aborted' | 'too-long';

  constructor(reason: Ended['reason']) {
    super(reason);
    this.reason = reason;
  }
}

/** A server that has answered should end its event stream; after this long it is ended for it, and the connection with it. */
const STREAM_END_MS = 250;

/** Bytes. A server that sends without end must not take the test, and what it has measured, along with it. */
export const LONGEST_ANSWER: number = 64 * 1024 * 1024;

/**
 * One HTTP request and its answer, over undici's `dispatch`, which spares the stream and the promises of `request` (at
 * ten thousand requests a second the generator must not be what is measured).
 */
export class Exchange {
  readonly done: Promise<ExchangeReply>;
  readonly #request: ExchangeRequest;
  #resolve!: (reply: ExchangeReply) => void;
  #reject!: (error: unknown) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #timer: unknown;
  #settled = false;
  #status = 0;
  #headers: ExchangeReply['headers'] = {};
  #received = 0;
  #chunks: Uint8Array[] = [];
  #events: EventStreamParser | undefined;
  #message: { value: unknown; at: number } | undefined;

  constructor(client: Dispatcher, request: ExchangeRequest) {
    this.#request = request;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#timer = request.clock.setTimeout(() => this.#end('timeout'), request.timeoutMs);
    const { path, method, headers, body } = request;
    client.dispatch({ path, method, headers, body }, this.#handler());
  }

  abort(): void {
    this.#end('aborted');
  }

  #handler(): Dispatcher.DispatchHandler {
    return {
      onRequestStart: (controller) => {
        this.#controller = controller;
        if (this.#settled) controller.abort(new Ended('aborted'));
      },
      onResponseStart: (_controller, status, headers) => {
        this.#status = status;
        this.#headers = headers;
        const type = headers['content-type'];
        if (typeof type === 'string' && /^text\/event-stream/i.test(type))
          this.#events = new EventStreamParser((data) => this.#onEvent(data));
      },
      onResponseData: (controller, chunk) => {
        this.#received += chunk.length;
        // Once there is an answer the stream is on its way to its end.
        if (this.#received > LONGEST_ANSWER && this.#message === undefined) {
          this.#settle(() => this.#reject(new Ended('too-long')));
          controller.abort(new Ended('too-long'));
          return;
        }
        if (this.#events !== undefined) this.#events.push(chunk);
        else this.#chunks.push(chunk);
      },
      onResponseEnd: () => this.#finish(),
      onResponseError: (_controller, error) => {
        if (this.#message !== undefined) this.#finish();
        else this.#settle(() => this.#reject(error));
      },
    };
  }

  #onEvent(data: string): void {
    const value = parse(data);
    // Notifications (progress, log) come before the answer.
    if (this.#message !== undefined || !isObject(value) || value.id === undefined || 'method' in value) return;
    const { clock } = this.#request;
    this.#message = { value, at: clock.now() };
    clock.clearTimeout(this.#timer);
    if (!this.#settled) this.#timer = clock.setTimeout(() => this.#end('timeout'), STREAM_END_MS);
  }

  #finish(): void {
    const at = this.#message?.at ?? this.#request.clock.now();
    const text = this.#message === undefined ? Buffer.concat(this.#chunks).toString() : '';
    const message = this.#message === undefined ? parse(text) : this.#message.value;
    this.#settle(() => this.#resolve({ status: this.#status, headers: this.#headers, message, text, at }));
  }

  #end(reason: 'timeout' | 'aborted'): void {
    if (this.#settled) return;
    if (this.#message !== undefined) this.#finish();
    else this.#settle(() => this.#reject(new Ended(reason)));
    this.#controller?.abort(new Ended(reason));
  }

  #settle(how: () => void): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#request.clock.clearTimeout(this.#timer);
    how();
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
