/**
 * Takes a text/event-stream apart as its bytes arrive, whatever the chunks, and gives the data of each event that is
 * complete. (WHATWG HTML, 9.2.6 "Interpreting an event stream"; event names, ids and retry are of no use here.)
 */
export class EventStreamParser {
  readonly #onData: (data: string) => void;
  readonly #decoder = new TextDecoder('utf-8');
  #rest = '';
  #data: string[] = [];

  constructor(onData: (data: string) => void) {
    this.#onData = onData;
  }

  push(chunk: Uint8Array): void {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    let from = 0;
    for (;;) {
      const end = lineEnd(text, from);
      // A CR at the very end may be the first half of CRLF.
      if (end === -1 || (text[end] === '\r' && end === text.length - 1)) break;
      this.#line(text.slice(from, end));
      from = end + (text[end] === '\r' && text[end + 1] === '\n' ? 2 : 1);
    }
    this.#rest = text.slice(from);
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

function lineEnd(text: string, from: number): number {
  const lf = text.indexOf('\n', from);
  const cr = text.indexOf('\r', from);
  if (lf === -1 || cr === -1) return Math.max(lf, cr);
  return Math.min(lf, cr);
}
