/**
 * Whether a connection that carries many requests is heard of at all. A network that goes away without a word takes the
 * operating system a quarter of an hour to notice, and until then each new request would meet the same silence. (Over HTTP/1.1 a
 * request that fails takes its connection with it.)
 */
export class Silence {
  #since: number | undefined;
  #tooLong = false;

  /** Nothing new is to be sent over it. */
  get tooLong(): boolean {
    return this.#tooLong;
  }

  /** A request is sent. */
  asked(now: number): void {
    this.#since ??= now;
  }

  /** A request was answered in full; `more`: others are still under way. */
  answered(more: boolean, now: number): void {
    this.#since = more ? now : undefined;
  }

  /** A request failed or was given up. */
  failed(now: number): void {
    if (this.#since !== undefined && now - this.#since >= tooLongMs) this.#tooLong = true;
  }
}

/** Longer than any way over the earth and back; a server that needs longer for an answer costs a new connection at most. */
const tooLongMs = 1_000;
