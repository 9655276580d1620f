import type { Readable, Writable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib';

/** What a decoder tells of: what comes out of it, and whether it can take more. */
export interface DecoderEvents {
  data(chunk: Buffer): void;
  end(): void;
  error(error: Error): void;
  hold(): void;
  go(): void;
}

/** A chain of zlib streams, one for each coding that was applied. */
export class Decoder {
  readonly #first: Writable;
  readonly #last: Readable;
  readonly #all: readonly (Readable & Writable)[];
  readonly #events: DecoderEvents;

  private constructor(
    streams: readonly (Readable & Writable)[],
    first: Writable,
    last: Readable,
    events: DecoderEvents,
  ) {
    this.#all = streams;
    this.#first = first;
    this.#last = last;
    this.#events = events;
    for (const [index, stream] of streams.entries()) {
      stream.on('error', (error) => events.error(error));
      const next = streams[index + 1];
      if (next !== undefined) stream.pipe(next);
    }
    last.on('data', (chunk: Buffer) => events.data(chunk));
    last.on('end', () => events.end());
    first.on('drain', () => events.go());
  }

  static for(contentEncoding: string, firstBytes: Uint8Array, events: DecoderEvents): Decoder | undefined {
    const codings = contentEncoding
      .toLowerCase()
      .split(',')
      .map((coding) => coding.trim())
      .filter((coding) => coding !== '' && coding !== 'identity');
    // Each coding multiplies what a bomb comes to.
    if (codings.length > maxCodings) throw new Error(`${codings.length} codings, one inside the other`);
    // A coding that is not known leaves the bytes as they came, as in fetch.
    if (codings.length === 0 || !codings.every((coding) => decoders.has(coding))) return undefined;
    const streams = codings.reverse().map((coding, index) => {
      // Some servers send `deflate` without the wrapper of zlib, whose first byte is known (RFC 1950, 2.2).
      const isRaw = coding === 'deflate' && index === 0 && ((firstBytes[0] ?? 0) & 0x0f) !== 8;
      return isRaw ? createInflateRaw() : (decoders.get(coding) as () => Readable & Writable)();
    });
    const [first] = streams;
    const last = streams.at(-1);
    if (first === undefined || last === undefined) return undefined;
    return new Decoder(streams, first, last, events);
  }

  write(chunk: Buffer): void {
    if (!this.#first.write(chunk)) this.#events.hold();
  }
  end(): void {
    this.#first.end();
  }
  pause(): void {
    this.#last.pause();
  }
  resume(): void {
    this.#last.resume();
  }
  destroy(): void {
    for (const stream of this.#all) stream.destroy();
  }
}

const maxCodings = 3;

const decoders = new Map<string, () => Readable & Writable>([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
]);
