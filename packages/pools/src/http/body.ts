import { PoolError } from '../errors.ts';
import { Decoder } from './decoder.ts';

/** Where the bytes come from: to hold them back, to let them come, to give them up; and to be told that no more are wanted. */
export interface BodySource {
  pause(): void;
  resume(): void;
  breakOff(reason: unknown): void;
  settled(): void;
}

/** What is kept of a body that nobody reads yet, before the sender is held back. Most bodies fit: their connection is free at once. */
const readAheadBytes = 65_536;

/** A body on its way: inflated, counted, kept until somebody reads it, and given to one reader. */
export class Body {
  readonly #maxBytes: number;
  readonly #source: BodySource;
  #contentEncoding: string | undefined;
  #decoder: Decoder | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #compressedBytes = 0;
  #state: 'waiting' | 'collecting' | 'streaming' | 'draining' = 'waiting';
  #drained = 0;
  #ended = false;
  #failure: { error: unknown } | undefined;
  #used = false;
  #settle: (() => void) | undefined;
  #stream: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(maxBytes: number, contentEncoding: string | undefined, source: BodySource) {
    this.#maxBytes = maxBytes;
    this.#source = source;
    this.#contentEncoding = contentEncoding;
  }

  get used(): boolean {
    return this.#used;
  }

  push(chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    if (this.#state === 'draining') {
      this.#drained += chunk.length;
      if (this.#drained > readAheadBytes) this.discard();
      return;
    }
    if (this.#contentEncoding !== undefined) {
      try {
        this.#decoder = this.#newDecoder(this.#contentEncoding, chunk);
      } catch (cause) {
        this.#giveUp(damaged(cause));
        return;
      }
    }
    if (this.#decoder === undefined) {
      this.#take(chunk);
      return;
    }
    // What inflates to nothing, such as empty members without end, is bounded as it came.
    this.#compressedBytes += chunk.length;
    if (this.#compressedBytes > this.#maxBytes) this.#giveUp(tooLarge(this.#maxBytes));
    else this.#decoder.write(chunk);
  }

  finish(): void {
    if (this.#decoder === undefined || this.#state === 'draining') this.#end();
    else this.#decoder.end();
  }

  fail(error: unknown): void {
    if (this.#ended || this.#failure !== undefined) return;
    this.#failure = { error };
    this.#chunks = [];
    this.#decoder?.destroy();
    this.#settle?.();
    try {
      this.#stream?.error(error);
    } catch {
      // The reader has cancelled the stream: nobody is left to be told.
    }
    this.#source.settled();
  }

  async bytes(): Promise<Buffer> {
    this.#use();
    if (!this.#ended && this.#failure === undefined) {
      this.#state = 'collecting';
      this.#go();
      await new Promise<void>((resolve) => {
        this.#settle = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
  }

  stream(): ReadableStream<Uint8Array> {
    this.#use();
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          if (this.#failure !== undefined) return controller.error(this.#failure.error);
          for (const chunk of this.#chunks) controller.enqueue(chunk);
          this.#chunks = [];
          if (this.#ended) return controller.close();
          this.#stream = controller;
          this.#state = 'streaming';
        },
        pull: () => this.#go(),
        cancel: (reason) => {
          this.#stream = undefined;
          this.discard(reason);
        },
      },
      { highWaterMark: readAheadBytes, size: (chunk) => chunk.byteLength },
    );
  }

  /** Nobody will read it. */
  discard(reason?: unknown): void {
    if (this.#ended || this.#failure !== undefined) return;
    this.#giveUp(reason ?? new PoolError('ERR_BODY_USED', 'The body of the response was discarded'));
  }

  /** Nobody will read it, but what is left of it is let in, if it is little, so that the connection can be used again. */
  drain(): void {
    if (this.#ended || this.#failure !== undefined) return;
    this.#state = 'draining';
    this.#chunks = [];
    this.#decoder?.destroy();
    this.#source.resume();
  }

  /** Made with the first bytes: an empty body is not compressed, whatever its header says. */
  #newDecoder(contentEncoding: string, firstBytes: Buffer): Decoder | undefined {
    this.#contentEncoding = undefined;
    return Decoder.for(contentEncoding, firstBytes, {
      data: (chunk) => this.#take(chunk),
      end: () => this.#end(),
      error: (cause) => this.#giveUp(damaged(cause)),
      hold: () => this.#source.pause(),
      go: () => this.#source.resume(),
    });
  }

  #use(): void {
    if (this.#used) throw new PoolError('ERR_BODY_USED', 'The body of the response has been read already');
    this.#used = true;
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) {
      this.#giveUp(tooLarge(this.#maxBytes));
      return;
    }
    if (this.#state === 'streaming') {
      this.#stream?.enqueue(chunk);
      if ((this.#stream?.desiredSize ?? 1) <= 0) this.#hold();
      return;
    }
    this.#chunks.push(chunk);
    if (this.#state === 'waiting' && this.#bytes > readAheadBytes) this.#hold();
  }

  #hold(): void {
    if (this.#decoder === undefined) this.#source.pause();
    else this.#decoder.pause();
  }

  #go(): void {
    if (this.#decoder === undefined) this.#source.resume();
    else this.#decoder.resume();
  }

  #end(): void {
    if (this.#ended || this.#failure !== undefined) return;
    this.#ended = true;
    this.#settle?.();
    try {
      this.#stream?.close();
    } catch {
      // The reader has cancelled the stream.
    }
    this.#source.settled();
  }

  #giveUp(error: unknown): void {
    this.fail(error);
    this.#source.breakOff(error);
  }
}

function damaged(cause: unknown): PoolError {
  return new PoolError('ERR_INVALID_RESPONSE', 'The compressed body of the response is damaged', { cause });
}

export function tooLarge(maxBytes: number): PoolError {
  return new PoolError('ERR_RESPONSE_TOO_LARGE', `The body of the response is larger than ${maxBytes} bytes`);
}
