/**
 * Takes a text/event-stream apart as its bytes arrive, whatever the chunks, and gives the data of each event that is
 * complete. (WHATWG HTML, 9.2.6 "Interpreting an event stream"; event names, ids and retry are of no use here.)
 */
export class EventStreamParser {
  readonly #onData: (data: string) => void;
  readonly #decoder = new TextDecoder('utf-8');
  /** The line that has begun, in the pieces in which it came: looked at once, however long it grows. */
  #pieces: string[] = [];
  #afterCr = false;
  #data: string[] = [];

  constructor(onData: (data: string) => void) {
    this.#onData = onData;
  }

  push(chunk: Uint8Array): void {
    const text = this.#decoder.decode(chunk, { stream: true });
    if (text === '') return;
    // A CR at the end of the last chunk was the first half of CRLF.
    let from = this.#afterCr && text[0] === '\n' ? 1 : 0;
    this.#afterCr = text.endsWith('\r');
    const lineEnd = /\r\n?|\n/g;
    lineEnd.lastIndex = from;
    for (let end = lineEnd.exec(text); end !== null; end = lineEnd.exec(text)) {
      this.#pieces.push(text.slice(from, end.index));
      this.#line(this.#pieces.join(''));
      this.#pieces = [];
      from = lineEnd.lastIndex;
    }
    this.#pieces.push(text.slice(from));
  }

  #line(line: string): void {
    if (line === '') {
      if (this.#data.length > 0) this.#onData(this.#data.join('\n'));
      this.#data = [];
      return;
    }
    if (line !== 'data' && !line.startsWith('data:')) return;
    const value = line.slice('data:'.length);
    this.#data.push(value.startsWith(' ') ? value.slice(1) : value);
  }
}
